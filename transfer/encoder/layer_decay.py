"""Which layer a parameter belongs to, for layer-wise learning rates.

Sources: microsoft/SimMIM `optimizer.py`, and microsoft/unilm `beit/optim_factory.py` for BEiT, re-stated for timm's
names. A Swin PatchMerging belongs to the last block before it; timm keeps it at the start of the next stage, the
official code at the end of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import UserError


@dataclass(frozen=True)
class Layers:
    """Layer 0 is the patch embedding, layer `count - 1` the final norm and the head."""

    count: int
    of: Callable[[str], int]


def layers_of(model: nn.Module) -> Layers:
    """Return the layers of a timm model. Raises UserError where no published rule exists."""
    if isinstance(model, SwinTransformer | SwinTransformerV2):
        return _swin([block.depth for block in model.layers])
    if isinstance(model, VisionTransformer | Beit):
        return _vit(len(model.blocks))
    rule = "1.0 for this architecture (layers are defined for Swin, SwinV2, ViT and BEiT)"
    raise UserError.about("layer_decay", type(model).__name__, rule, "set layer_decay=1.0")


def _swin(depths: list[int]) -> Layers:
    before = [sum(depths[:stage]) for stage in range(len(depths) + 1)]
    last = before[-1] + 1

    def layer(name: str) -> int:
        part = name.split(".")
        if part[0] in ("patch_embed", "mask_token", "absolute_pos_embed"):
            return 0
        if part[0] != "layers":
            return last
        stage = int(part[1])
        return before[stage] if part[2] == "downsample" else before[stage] + int(part[3]) + 1

    return Layers(last + 1, layer)


def _vit(depth: int) -> Layers:
    def layer(name: str) -> int:
        part = name.split(".")
        if part[0] in ("patch_embed", "cls_token", "mask_token", "pos_embed", "reg_token"):
            return 0
        return int(part[1]) + 1 if part[0] == "blocks" else depth + 1  # rel_pos_bias, which all blocks share, too

    return Layers(depth + 2, layer)


def groups_around(
    model: nn.Module, encoder: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Group the parameters of a task's model: its timm encoder's by layer, all others with the last layer."""
    if layer_decay == 1.0:
        return parameter_groups(model, weight_decay)
    prefix = next(name for name, module in model.named_modules() if module is encoder) + "."
    layers = layers_of(encoder)

    def layer_of(name: str) -> int:
        return layers.of(name.removeprefix(prefix)) if name.startswith(prefix) else layers.count - 1

    return parameter_groups(model, weight_decay, layer_of, layers.count, layer_decay)
