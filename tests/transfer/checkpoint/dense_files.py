"""Tensors of torchvision and timm by the names of detectron2, of FCMAE's sparse pretraining and of SAM 2."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from transfer.checkpoint.layouts.layout import Weights

SPARSE = ("dwconv", "downsample_layers.1.1", "downsample_layers.2.1", "downsample_layers.3.1")


def detectron2(weights: Weights) -> Weights:
    """Return torchvision's tensors by detectron2's names; its norms count no batches."""
    renamed = {}
    for key, tensor in weights.items():
        name = key if key.startswith("layer") else f"stem.{key}"
        name = re.sub(r"layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
        name = re.sub(r"bn(\d)", r"conv\1.norm", name)
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        if not name.endswith("num_batches_tracked"):
            renamed[f"backbone.bottom_up.{name}"] = tensor
    return renamed


def sparse(weights: Weights) -> Weights:
    """Return timm's ConvNeXtV2 by the names of `models/convnextv2_sparse.py`, whose tensors MinkowskiEngine holds."""
    renamed = {}
    for key, tensor in weights.items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", key)
        name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name).replace(".blocks.", ".")
        name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv").replace("mlp.grn", "grn")
        name = name.replace("grn.weight", "grn.gamma").replace("grn.bias", "grn.beta")
        name = re.sub(r"(pwconv\d)\.", r"\1.linear.", name)
        name = re.sub(r"(stages\.\d\.\d+\.norm|downsample_layers\.[123]\.0)\.", r"\1.ln.", name)
        if name.endswith("weight") and any(part in name for part in SPARSE):
            renamed[name.removesuffix("weight") + "kernel"] = _kernel(tensor)
        elif not name.startswith("head."):
            sparse = name.endswith("bias") and any(part in name for part in SPARSE)
            renamed[name] = tensor.reshape(1, -1) if sparse or ".grn." in name else tensor
    return renamed


def _kernel(dense: Tensor) -> Tensor:
    """Return the sparse kernel in which the pixel in row y and column x of [out, in, k, k] has the place x * k + y."""
    side, grouped = dense.shape[-1], dense.shape[1] == 1
    pixels = [dense[:, :, place % side, place // side].T for place in range(side**2)]
    return torch.stack(pixels)[:, 0] if grouped else torch.stack(pixels)


def sam2(weights: Weights) -> Weights:
    """Return timm's tensors by the names of facebookresearch/sam2 `modeling/backbones/hieradet.py`, without a head."""
    return {re.sub(r"mlp\.fc([12])", lambda match: f"mlp.layers.{int(match[1]) - 1}", key): each
            for key, each in weights.items() if not key.startswith("head.")}  # fmt: skip
