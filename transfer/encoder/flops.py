"""What an encoder costs before it is built, and how fast this CPU is."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.flops import forward_flops, matrix_flops_per_second


def encoder_flops(architecture: Architecture, image_size_px: int) -> float:
    """Return the FLOPs of one forward pass of an encoder on one image, counted without memory for it or arithmetic."""
    with torch.device("meta"):
        model: Any = build_backbone(architecture, image_size_px, whole_windows=False)
        image = torch.empty(1, architecture.in_chans, image_size_px, image_size_px)
        return forward_flops(model, lambda: model.forward_features(image))


def matrix_rates_of_cpu() -> tuple[float, ...]:
    """Return the FLOPs per second of matrix products on this CPU, in float32 and in bfloat16."""
    cpu = torch.device("cpu")
    return tuple(matrix_flops_per_second(cpu, dtype) for dtype in (torch.float32, torch.bfloat16))
