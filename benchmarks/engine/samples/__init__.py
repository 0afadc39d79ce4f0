"""From named images to batches: seeded samples, loaders, files that cannot be read."""
