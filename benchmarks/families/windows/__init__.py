"""Attention in windows: bias tables by relative position, maps of any size, the faster step, windows of stages."""
