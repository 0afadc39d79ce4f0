"""Find run records, judge whether they can be reported, and gather them into rows over seeds."""
