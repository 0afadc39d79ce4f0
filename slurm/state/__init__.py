"""What a pipeline leaves on disk, and what that tells about its stages."""
