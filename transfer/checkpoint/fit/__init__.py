"""Tensors of another size: resized, never dropped."""
