"""DINOv2's linear depth: a 1x1 convolution on enlarged maps of a frozen encoder, to weights of bins of depth.

Source: facebookresearch/dinov2 `eval/depth/models/decode_heads/linear_head.py` (BNHead, which has no batch
normalisation) and `decode_head.py` (depth_pred, with UD bins and the linear norm), `depther/encoder_decoder.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from transfer.depth.recipe import LinearDepthRecipe
from transfer.encoder.frozen_maps import FrozenMaps
from transfer.encoder.model import LoadedMaps, build_frozen_maps
from transfer.sources.source import Source

LEAST_WEIGHT = 0.1
"""What every bin's weight has besides its logit, so that the sum is never zero."""


class DepthHead(nn.Module):
    """A 1x1 convolution on joined maps, whose outputs weigh depths at equal distances."""

    depths: Tensor

    def __init__(self, channels: Sequence[int], recipe: LinearDepthRecipe) -> None:
        """`channels` are those of the maps."""
        super().__init__()
        self.upsample = recipe.upsample
        self.conv_depth = nn.Conv2d(sum(channels), recipe.bins, 1)
        depths = torch.linspace(recipe.min_depth_m, recipe.max_depth_m, recipe.bins)
        self.register_buffer("depths", depths, persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return depths [B, 1, u * h, u * w] in metres of maps [B, D, ., .], the first of them [h, w]."""
        size = [self.upsample * side for side in maps[0].shape[2:]]
        joined = torch.cat([interpolate(each, size, mode="bilinear", align_corners=False) for each in maps], dim=1)
        weights = self.conv_depth(joined).float().relu() + LEAST_WEIGHT
        return torch.einsum("bkhw,k->bhw", weights / weights.sum(dim=1, keepdim=True), self.depths)[:, None]


class Depther(nn.Module):
    """A frozen encoder with a head that estimates depth."""

    def __init__(self, maps: FrozenMaps, head: DepthHead) -> None:
        super().__init__()
        self.maps, self.head = maps, head

    def forward(self, images: Tensor) -> Tensor:
        """Return depths [B, 1, h, w] in metres of images [B, 3, H, W], at the size that the head gives."""
        depths: Tensor = self.head(self.maps(images))
        return depths


def maps_of(recipe: LinearDepthRecipe, source: Source, seed: int) -> LoadedMaps[FrozenMaps]:
    """Return the maps that the head takes. Raises UserError for an encoder that does not give them."""
    return build_frozen_maps(
        recipe,
        source,
        seed,
        longest_px=max(recipe.image_size_px, *recipe.crop_px),
        last=recipe.maps,
        evenly=True,
        normed=recipe.normed,
        class_token=recipe.class_token,
    )


def estimated(model: nn.Module, image: Tensor, recipe: LinearDepthRecipe) -> Tensor:
    """Return the depths [H, W] in metres of a whole image [1, 3, H, W], averaged with those of the mirrored one."""
    views = [image, image.flip(3)] if recipe.testing.mirrored else [image]
    found = []
    for view in views:
        depths = model(view).float().clamp(recipe.min_depth_m, recipe.max_depth_m)
        found.append(interpolate(depths, image.shape[2:], mode="bilinear", align_corners=False))
    both = found[0] if len(found) == 1 else (found[0] + found[1].flip(3)) / 2
    return both[0, 0]
