"""Checkpoints of the catalogue: downloaded once, held against the digests that their authors publish."""
