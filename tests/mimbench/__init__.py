"""What is used from Python."""
