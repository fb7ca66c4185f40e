"""Recordings checked against documents, many at once, and two of them against each other."""
