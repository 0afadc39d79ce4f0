"""The architecture of encoders in stages: Swin, Hiera, SAM, ConvNeXt, ResNet."""
