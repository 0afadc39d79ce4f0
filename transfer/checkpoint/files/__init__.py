"""A file as tensors: which kind it is, how each kind is read, and shards that make one checkpoint."""
