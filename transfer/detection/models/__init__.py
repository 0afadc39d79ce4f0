"""Detectors around an encoder, one for each engine that a recipe may name."""
