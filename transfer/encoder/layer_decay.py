"""Parameter groups for layer-wise learning rates of an encoder inside a task's model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.families.parts import Layers
from benchmarks.families.table import family_of
from transfer.encoder.adapters import without_adapters


def groups_by_layer(
    model: nn.Module, layers_of_model: Callable[[], Layers], weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups of a model, by layer where `layer_decay` is not 1.

    `layers_of_model` is called only then. Layer l of n gets the learning rate times layer_decay ** (n - 1 - l).
    """
    if layer_decay == 1.0:
        return parameter_groups(model, weight_decay)
    layers = without_adapters(layers_of_model())
    return parameter_groups(model, weight_decay, layers.of, layers.count, layer_decay)


def groups_around(
    model: nn.Module, encoder: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Return the parameter groups of a task's model: its timm encoder's by layer, all others with the last layer."""

    def layers_of_model() -> Layers:
        prefix = next(name for name, module in model.named_modules() if module is encoder) + "."
        layers = family_of(encoder).layers()

        def layer_of(name: str) -> int:
            return layers.of(name.removeprefix(prefix)) if name.startswith(prefix) else layers.count - 1

        return Layers(layers.count, layer_of)

    return groups_by_layer(model, layers_of_model, weight_decay, layer_decay)
