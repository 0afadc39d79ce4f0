"""Checkpoints that others trained: reading them safely, recognising their layout, turning it into timm's."""
