"""A file as tensors: containers, shards, recognition by content, refusals in words."""
