"""From images that are named to batches: seeded samples, loaders, files that cannot be read."""
