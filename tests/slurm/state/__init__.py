"""What a pipeline leaves on disk, and how it is shown."""
