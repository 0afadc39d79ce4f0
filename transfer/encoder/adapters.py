"""Low-rank adapters: an encoder's matrices stay as they are, and the product of two small ones is added to each.

Source: Hu et al. 2021, LoRA (arXiv:2106.09685): W + alpha / rank * up @ down, where `up` begins as zeros and `down` at
random, so that training begins at the encoder itself. What is adapted is the weight and not the module, since many
encoders (BEiT, SwinV2, Video Swin) read the weights of their modules without calling them.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Iterable, Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.errors import UserError
from benchmarks.families.parts import BLOCKS, Layers, Weights
from benchmarks.families.table import family_of
from transfer.encoder.sizes import Adapters

_ADDED = "parametrizations.weight.0"
_ORIGINAL = "parametrizations.weight.original"
_PARAMETER = re.compile(r"\.parametrizations\.weight\.(?:original|0\.(?:up|down))$")
_ATTENTION, _OTHER = re.compile("attn|attention", re.IGNORECASE), re.compile("mlp|ffn", re.IGNORECASE)


class LowRank(nn.Module):
    """What is added to one weight [out, in] or [out, in, k, k]."""

    scale: Tensor

    def __init__(self, weight: Tensor, adapters: Adapters) -> None:
        super().__init__()
        rows, columns = _matrix(weight)
        self.up = nn.Parameter(weight.new_zeros(rows, adapters.rank))
        self.down = nn.Parameter(weight.new_empty(adapters.rank, columns))
        self.register_buffer("scale", weight.new_tensor(adapters.alpha / adapters.rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight, in the precision of the weights also under autocast, as it is exported."""
        empty = weight.device.type == "meta"
        with contextlib.nullcontext() if empty else torch.autocast(weight.device.type, enabled=False):
            return _adapted(weight, self.up, self.down, self.scale)


def _adapted(weight: Tensor, up: Tensor, down: Tensor, scale: Tensor) -> Tensor:
    return weight + scale * (up @ down).reshape(weight.shape)


def _matrix(weight: Tensor) -> tuple[int, int]:
    return len(weight), weight.numel() // len(weight)


def adapt_model(model: nn.Module, adapters: Adapters | None) -> None:
    """Freeze a timm model but for its classifier, and add adapters to its blocks; without any, leave it as it is.

    Raises UserError as `require_targets` does.
    """
    if adapters is not None:
        adapt(model, _blocks(model), adapters, beside=family_of(model).head_names())


def adapt(encoder: nn.Module, blocks: Iterable[nn.Module], adapters: Adapters, beside: Collection[str] = ()) -> None:
    """Freeze an encoder but for the parameters named in `beside`, and add adapters to its blocks.

    Weights that are not trained anyway stay without. Batch norms keep their running statistics.
    """
    targets = _found(blocks, adapters)
    for name, parameter in encoder.named_parameters():
        if name not in beside:
            parameter.requires_grad_(False)
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = MethodType(_unchanged, module)  # type: ignore[method-assign]
    for module in targets:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, adapters))


def _unchanged(module: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001 (torch's signature)
    return module


def require_targets(model: nn.Module, adapters: Adapters | None) -> None:
    """Raise UserError for a timm model that has no matrices for these adapters."""
    if adapters is not None:
        _found(_blocks(model), adapters)


def _blocks(model: nn.Module) -> list[nn.Module]:
    family = family_of(model)
    if not family.can(BLOCKS):
        rule = "an encoder whose blocks are known"
        raise UserError.about("adapters", type(model).__name__, rule, "adapters=null, which trains the whole encoder")
    return family.blocks()


def _found(blocks: Iterable[nn.Module], adapters: Adapters) -> list[Any]:
    """Return the modules whose weights are adapted: those that train, and are of more than the adapters' rank."""
    found = list({id(each): each for block in blocks for each in _targets(block, adapters)}.values())
    found = [each for each in found if each.weight.requires_grad]
    if not found:
        rule = "an encoder with such matrices in its blocks; this one has none"
        raise UserError.about("adapters.targets", adapters.targets, rule, "adapters.targets=all, or another encoder")
    wide = [each for each in found if min(_matrix(each.weight)) > adapters.rank]
    if not wide:
        most = max(min(_matrix(each.weight)) for each in found)
        rule = f"less than {most}, the smaller side of the largest matrix"
        raise UserError.about("adapters.rank", adapters.rank, rule, f"adapters.rank={max(1, most // 4)}")
    return wide


def _targets(block: nn.Module, adapters: Adapters) -> Iterator[nn.Linear | nn.Conv2d]:
    for name, module in block.named_modules():
        if not isinstance(module, nn.Linear) and not (isinstance(module, nn.Conv2d) and module.groups == 1):
            continue
        if adapters.targets == "all" or (_is_of_attention(block, name) and math.prod(module.weight.shape[2:]) == 1):
            yield module


def _is_of_attention(block: nn.Module, name: str) -> bool:
    """Tell by the names and classes of what a module lies in whether it is one of an attention's projections."""
    parts = name.split(".")
    owners = [type(block.get_submodule(".".join(parts[:end]))).__name__ for end in range(1, len(parts))]
    words = [*parts[:-1], *(owner for owner in owners if "block" not in owner.lower())]
    return any(map(_ATTENTION.search, words)) and not any(map(_OTHER.search, parts))


def merged(weights: Weights) -> Weights:
    """Return a state dict with the adapters' products added to the weights that they belong to."""
    found = {}
    for name, tensor in weights.items():
        stem, original, _ = name.partition(_ORIGINAL)
        if original and f"{stem}{_ADDED}.down" in weights:
            up, down, scale = (weights[f"{stem}{_ADDED}.{part}"] for part in ("up", "down", "scale"))
            found[f"{stem}weight"] = _adapted(tensor, up, down, scale)
        elif f".{_ADDED}." not in name:
            found[name] = tensor
    return found


def without_adapters(layers: Layers) -> Layers:
    """Return layers in which an adapter's matrices are in the layer of their weight."""
    return Layers(layers.count, lambda name: layers.of(_PARAMETER.sub(".weight", name)))


def adapter_notes(model: nn.Module) -> tuple[str, ...]:
    """Return how much adapters train, in words; empty for a model without."""
    added = [each for each in model.modules() if isinstance(each, LowRank)]
    if not added:
        return ()
    count = sum(each.up.numel() + each.down.numel() for each in added)
    return (f"low-rank adapters: {count:,} parameters beside {len(added)} matrices; the encoder itself stays frozen",)
