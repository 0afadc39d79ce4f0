"""Weights that are waves: the same in every library, for witnesses that ran elsewhere."""

from __future__ import annotations

import torch
from torch import nn

SMALL_VIT = {"embed_dim": 12, "depth": 3, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14, "init_values": 1.0}
"""timm's arguments of a ViT whose tensors have the names that they have in facebookresearch/dinov2."""


def fill(module: nn.Module) -> None:
    """Fill all tensors with waves by the order of their names; vectors that scale lie around 1."""
    for at, (name, tensor) in enumerate(
        sorted((n, t) for n, t in module.state_dict().items() if t.is_floating_point())
    ):
        wave = 0.3 * torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * (0.7 + at / 10))
        scales = name.endswith(("weight", "gamma", "running_var")) and tensor.ndim == 1
        tensor.copy_((wave + scales).reshape(tensor.shape))
