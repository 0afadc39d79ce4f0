"""Weights that are waves: the same in every library, for witnesses that ran elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
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


def write_vit(folder: Path, arguments: Mapping[str, object]) -> Path:
    """Write a ViT whose weights are waves as timm does, with a config beside it; return its file."""
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments)
    with torch.no_grad():
        fill(vit)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(vit.state_dict(), folder / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": arguments}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"
