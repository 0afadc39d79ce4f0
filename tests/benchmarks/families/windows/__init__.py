"""Attention in windows: what the faster step is made of."""
