"""The tools that encoders are written for. Light to import."""

from __future__ import annotations

from dataclasses import dataclass

from transfer.checkpoint.layouts.layout import Family


@dataclass(frozen=True)
class ConversionTarget:
    """A tool that encoders are written for: its layout for each family, and how it wraps names and dicts."""

    layouts: dict[Family, str]
    prefix: str = ""
    """Stands before every tensor's name."""
    key: str = "model"
    """The key under which a torch file holds the tensors."""


TARGETS = {
    "timm": ConversionTarget({"swin": "timm-swin", "swinv2": "timm-swinv2", "vit": "timm-vit", "beit": "timm-beit"}),
    "simmim": ConversionTarget(
        {"swin": "microsoft-swin", "swinv2": "microsoft-swinv2", "beit": "simmim-vit"}, "encoder."
    ),
    "mmseg": ConversionTarget({"swin": "mmseg-swin", "swinv2": "mmpretrain-swinv2"}, "backbone.", "state_dict"),
    "detectron2": ConversionTarget({"swin": "detectron2-swin"}, "backbone.bottom_up."),
    "torchvision": ConversionTarget(
        {
            "swin": "torchvision-swin",
            "swinv2": "torchvision-swinv2",
            "vit": "torchvision-vit",
            "torchvision": "torchvision-convnet",
        }
    ),
    "huggingface": ConversionTarget(
        {
            "swin": "huggingface-swin",
            "swinv2": "huggingface-swinv2",
            "vit": "huggingface-vit",
            "beit": "huggingface-beit",
        }
    ),
}
