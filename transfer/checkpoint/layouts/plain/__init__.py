"""Layouts of plain transformers: ViT, BEiT, DINOv2, EVA, the image towers of CLIP and their kin."""
