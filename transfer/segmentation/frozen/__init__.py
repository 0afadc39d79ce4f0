"""Protocols of segmentation in which the encoder never changes: a linear layer, and nearest neighbours of patches."""
