"""Targets that come from files: palettes, tokenizers, dVAEs."""
