"""Parameter groups for layer-wise learning rates of an encoder inside a task's model."""

from __future__ import annotations

from typing import Any

from torch import nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.families.table import family_of


def groups_around(
    model: nn.Module, encoder: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Group the parameters of a task's model: its timm encoder's by layer, all others with the last layer."""
    if layer_decay == 1.0:
        return parameter_groups(model, weight_decay)
    prefix = next(name for name, module in model.named_modules() if module is encoder) + "."
    layers = family_of(encoder).layers()

    def layer_of(name: str) -> int:
        return layers.of(name.removeprefix(prefix)) if name.startswith(prefix) else layers.count - 1

    return parameter_groups(model, weight_decay, layer_of, layers.count, layer_decay)
