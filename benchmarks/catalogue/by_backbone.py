"""Recipes of ImageNet-1K that differ by the encoder's backbone: of training from random weights, and of its authors."""

from __future__ import annotations

ANY_BACKBONE = ""
"""In `Task.from_scratch`: every backbone that is not named there."""

IMAGENET_FROM_SCRATCH = {
    "Swin-T": "imagenet1k_swin_tiny_224_supervised",
    "Swin-S": "imagenet1k_swin_small_224_supervised",
    "Swin-B": "imagenet1k_swin_base_224_supervised",
    "SwinV2-T": "imagenet1k_swinv2_tiny_256_supervised",
    "SwinV2-S": "imagenet1k_swinv2_small_256_supervised",
    "SwinV2-B": "imagenet1k_swinv2_base_256_supervised",
    "ViT-B": "imagenet1k_vit_base_224_deit",
    "ViT-L": "imagenet1k_vit_large_224_mae_supervised",
    "ResNet-50": "imagenet1k_resnet50_224_torchvision",
}

IMAGENET_OF_AUTHORS = {
    "mae ViT-B": "imagenet1k_vit_base_224_mae",
    "mae ViT-L": "imagenet1k_vit_large_224_mae",
    "mae ViT-H": "imagenet1k_vit_huge_224_mae",
    "beit ViT-B": "imagenet1k_vit_base_224_beit",
    "beit ViT-L": "imagenet1k_vit_large_224_beit",
    "simmim-vit ViT-B": "imagenet1k_vit_base_224_after_800ep",
}
