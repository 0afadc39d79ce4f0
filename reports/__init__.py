"""Tables, charts and pages from run records; comparisons only where they are fair."""
