"""Judge whether run records can be reported, and gather them into rows over seeds."""
