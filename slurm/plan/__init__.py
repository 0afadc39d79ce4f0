"""What a pipeline will cost, before it is spent."""
