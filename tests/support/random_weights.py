"""Random weights for models whose results are compared."""

from __future__ import annotations

from typing import Any, TypeVar

import timm
import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def randomise(model: M, seed: int = 3) -> M:
    """Move every parameter and running mean off its initial value, and return the model in evaluation mode.

    Many parameters begin at 0 or 1, where two that were swapped, or one that was lost, would not show.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.5 if "table" in name else 0.1))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.1 * torch.randn(buffer.shape, generator=generator))
    return model.eval()


def of_timm(name: str, **arguments: Any) -> nn.Module:
    """Return timm's encoder with the initial values of one seed."""
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=0, **arguments)
    return model
