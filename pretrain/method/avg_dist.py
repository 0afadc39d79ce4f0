"""AvgDist: how far hidden pixels are from what can be seen. Source: SimMIM (arXiv:2111.09886), section 4.1.2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.errors import UserError
from pretrain.method.masking import BlockwiseMask, PatchMask, RandomMask, SquareMask

RATIOS = tuple(tenths / 10 for tenths in range(1, 10))
STRATEGIES: tuple[PatchMask, ...] = (
    *(RandomMask(mask_patch_size_px=size) for size in (4, 8, 16, 32, 64)),
    SquareMask(mask_patch_size_px=32),
    *(BlockwiseMask(mask_patch_size_px=size) for size in (16, 32)),
)
"""The strategies of the paper's figure 3a."""


def avg_dist(hidden: NDArray[np.bool_]) -> float:
    """Return the mean Euclidean distance in pixels from hidden pixels to the nearest visible one of the same image.

    `hidden` [H, W] or [B, H, W] is on pixels; True = hidden. The mean is over all hidden pixels.
    Raises ValueError where an image has no visible pixel, or where nothing is hidden.
    """
    from scipy.ndimage import distance_transform_edt

    masks = hidden.reshape(-1, *hidden.shape[-2:])
    if masks.all(axis=(1, 2)).any() or not masks.any():
        raise ValueError("AvgDist needs a visible pixel in every mask and a hidden one")
    # A visible pixel is at distance 0 from itself, so the sum is over the hidden ones.
    return float(sum(distance_transform_edt(mask).sum() for mask in masks) / masks.sum())


@dataclass(frozen=True)
class Point:
    """AvgDist of one strategy at one ratio."""

    strategy: str
    mask_patch_size_px: int
    mask_ratio: float
    hidden_share: float
    """The share of pixels that is really hidden: the ratio, rounded to whole squares."""
    avg_dist_px: float


def curve(strategy: PatchMask, image_size_px: int, masks: int, seed: int) -> Iterator[Point]:
    """Yield AvgDist over ratio, the mean of `masks` masks; ratios that would leave nothing visible are passed over."""
    for ratio in RATIOS:
        mask = strategy.model_copy(update={"mask_ratio": ratio})
        try:
            mask.check(image_size_px, 1)
        except UserError:
            continue
        hidden = _drawn(mask, image_size_px, masks, seed)
        share, distance = float(hidden.mean()), avg_dist(hidden)
        yield Point(mask.kind, mask.mask_patch_size_px, ratio, share, distance)


def avg_dist_of(mask: PatchMask, image_size_px: int, masks: int = 50, seed: int = 0) -> float:
    """Return AvgDist of a strategy in pixels, the mean of `masks` masks."""
    return avg_dist(_drawn(mask, image_size_px, masks, seed))


def _drawn(mask: PatchMask, image_size_px: int, masks: int, seed: int) -> NDArray[np.bool_]:
    random = torch.Generator().manual_seed(seed)
    hidden: NDArray[np.bool_] = mask.sample(masks, image_size_px, 1, random).numpy()
    return hidden
