"""Image data sets written as WebDataset tar shards: whole or not at all, resumable, verified."""
