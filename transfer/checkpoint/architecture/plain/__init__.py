"""The architecture of plain transformers: ViT, BEiT and their kin, whose blocks all see one grid of patches."""
