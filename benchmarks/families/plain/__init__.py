"""Families of plain transformers, whose blocks all see one grid of patches."""
