"""A small ConvNet, registered with timm, and what mimbench has to know to mask its images."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from benchmarks.families.family import Family
from benchmarks.families.parts import Layers


class PatchNet(nn.Module):
    """Four stages of depthwise convolutions, each of which halves the map of the one before; the first has stride 4."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        widths: tuple[int, ...] = (16, 32, 64, 128),
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        before = (in_chans, *widths)
        self.stages = nn.ModuleList(
            _stage(before[index], width, 4 if index == 0 else 2) for index, width in enumerate(widths)
        )
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**index, "module": f"stages.{index}"}
            for index, width in enumerate(widths)
        ]
        self.num_features = widths[-1]
        self.num_classes, self.global_pool = num_classes, global_pool
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_intermediates(self, images: Tensor, indices: list[int], intermediates_only: bool = False) -> Any:
        """Return the maps of the stages with these numbers, and the last one's unless the maps are wanted alone."""
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(images)
        maps = [found[index] for index in indices]
        return maps if intermediates_only else (images, maps)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last stage's map [B, D, H/32, W/32] of images [B, C, H, W]."""
        for stage in self.stages:
            images = stage(images)
        return images

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits [B, K], or before them the mean of the map [B, D]."""
        pooled = features.mean(dim=(2, 3))
        logits: Tensor = pooled if pre_logits else self.head(pooled)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


def _stage(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, stride, stride),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.GELU(),
        nn.Conv2d(width, width, 1),
    )


default_cfgs = generate_default_cfgs(
    {
        "patchnet_tiny": {
            "input_size": (3, 32, 32),
            "num_classes": 1000,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "stages.0.0",
            "classifier": "head",
        }
    }
)
"""What timm reads of a model that is registered below."""


@register_model
def patchnet_tiny(pretrained: bool = False, **arguments: Any) -> PatchNet:
    """Return the network as timm builds it; there are no published weights."""
    built: PatchNet = build_model_with_cfg(PatchNet, "patchnet_tiny", pretrained, **arguments)
    return built


class PatchNets(Family):
    """PatchNet, whose mask token is a colour in the place of hidden pixels, as for other ConvNets."""

    name = "PatchNet"
    kind = PatchNet
    registered_in: ClassVar[tuple[str, ...]] = ("family",)

    def layers(self) -> Layers:
        """Return a layer for every stage, and the last for the head."""
        return Layers(5, lambda name: int(name.split(".")[1]) if name.startswith("stages.") else 4)

    def mask_token_shape(self) -> tuple[int, ...]:
        return 1, self.in_chans, 1, 1

    def masked_features(self, images: Tensor, hidden: Tensor, token: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(torch.where(hidden.unsqueeze(1), token.to(images.dtype), images))
        return features
