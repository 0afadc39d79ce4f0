"""What a pipeline will cost, and its picture."""
