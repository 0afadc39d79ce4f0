"""Like for like: differences with their intervals, two sides next to each other, verdicts."""
