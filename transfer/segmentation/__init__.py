"""Semantic segmentation with mmsegmentation's heads, losses and transforms."""
