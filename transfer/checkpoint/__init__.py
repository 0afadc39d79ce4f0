"""Checkpoints that others trained: read safely, recognised, and brought into timm's layout."""
