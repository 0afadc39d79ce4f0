"""The layers of the normalisations that a recipe may name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from timm.layers import LayerNorm2d
from torch import nn

from benchmarks import ranks
from transfer.detection.recipe import Norm

NormLayer = Callable[[int], nn.Module]
"""Makes the layer for a number of channels."""

LAYERS: dict[str, NormLayer] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "LN": LayerNorm2d,
    "GN": partial(nn.GroupNorm, 32),
}


def on_device(norm: Norm, device: torch.device) -> Norm:
    """Return the norm, but BN for SyncBN unless several GPUs train: its layer works on nothing else."""
    shares = ranks.world_size() > 1 and device.type == "cuda"
    return "BN" if norm == "SyncBN" and not shares else norm


def norm_layer(norm: Norm) -> NormLayer | None:
    """Return the function that makes the layer of a norm; None for "none"."""
    return LAYERS.get(norm)
