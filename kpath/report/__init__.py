"""Text, JSON and pictures made of traces and verdicts."""
