"""Semantic segmentation through mmsegmentation."""
