"""Masked encoders, heads, targets and objectives."""
