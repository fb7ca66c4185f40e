"""Captures in the formats of other tools; docs/export.md describes each."""
