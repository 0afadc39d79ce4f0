"""Like for like, two sides, early verdicts."""
