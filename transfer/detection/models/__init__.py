"""Detectors around an encoder, by the engine that a recipe names."""
