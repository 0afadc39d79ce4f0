"""What a pipeline leaves on disk, and the state of its stages, which follows from that."""
