"""The normalisations that a recipe may name, as layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from timm.layers import LayerNorm2d
from torch import nn

from benchmarks import ranks
from transfer.detection.recipe import Norm

NormLayer = Callable[[int], nn.Module]
"""From a number of channels to the layer."""

LAYERS: dict[str, NormLayer] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "LN": LayerNorm2d,
    "GN": partial(nn.GroupNorm, 32),
}


def on_device(norm: Norm, device: torch.device) -> Norm:
    """Return BN for SyncBN unless several GPUs train: it knows no other way of sharing."""
    shares = ranks.world_size() > 1 and device.type == "cuda"
    return "BN" if norm == "SyncBN" and not shares else norm


def norm_layer(norm: Norm) -> NormLayer | None:
    """Return what makes the layer; None where there is none."""
    return LAYERS.get(norm)
