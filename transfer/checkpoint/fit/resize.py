"""Weights of other shapes made to fit a model: resized, never dropped.

Each rule knows one kind of tensor in timm's layout. What no rule can make fit is left as it is, so that the load
report names it and the run stops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import resample_patch_embed
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.runs.record import Resized
from transfer.checkpoint.fit.position_tables import Size, TableMode, resize_table
from transfer.checkpoint.layouts.layout import Weights

TABLE = "relative_position_bias_table"
SHARED_TABLE = f"rel_pos_bias.{TABLE}"
LARGEST_STRETCH = 1.25
"""A source that is no square must have the target's proportions up to this factor: more would be a guess."""


@dataclass(frozen=True)
class Fitted:
    """Weights that fit as far as rules exist, and what was done to them."""

    weights: Weights
    resized: tuple[Resized, ...]


@dataclass(frozen=True)
class Change:
    """A tensor in its new shape, and by which mode it got there."""

    tensor: Tensor
    mode: str


@torch.no_grad()
def fit_weights(weights: Weights, model: nn.Module, mode: TableMode = "geometric-cubic") -> Fitted:
    """Make every tensor that has another shape than the model's of the same name fit, where a rule exists.

    `mode` is that of the relative position bias tables. Tensors that fit already are passed on bit for bit.
    """
    start = _share_tables(weights, model)
    fitted, done = dict(start.weights), {record.name: record for record in start.resized}
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in start.weights.items():
        if tensor.shape == expected.get(name, tensor.shape):
            continue
        change = _change(name, tensor, model, mode)
        if change is None or change.tensor.shape != expected[name]:
            continue
        fitted[name] = change.tensor.contiguous()
        before = [done[name].mode] if name in done else []
        done[name] = _record(name, tensor, expected[name], ", ".join([*before, change.mode]))
    return Fitted(fitted, tuple(done.values()))


def _record(name: str, source: Tensor, to_shape: torch.Size, mode: str) -> Resized:
    return Resized(name=name, from_shape=tuple(source.shape), to_shape=tuple(to_shape), mode=mode)


def _change(name: str, tensor: Tensor, model: nn.Module, mode: TableMode) -> Change | None:
    """Apply the rule for tensors of this name; None where there is none, or where it does not reach."""
    owner, _, last = name.rpartition(".")
    if last == TABLE:
        return _fit_table(tensor, model.get_submodule(owner), model.get_parameter(name), mode)
    rule = _RULES.get(name)
    return rule(tensor, model) if rule else None


def _fit_table(table: Tensor, owner: Any, parameter: Tensor, mode: TableMode) -> Change | None:
    """Resize a table to the window of the attention that owns it."""
    window: Size = owner.window_size
    extra = len(parameter) - (2 * window[0] - 1) * (2 * window[1] - 1)
    sides = _sides(len(table) - extra, window, lambda side: (side + 1) // 2 if side % 2 else None)
    return Change(resize_table(table, sides, window, mode), mode) if sides and table.ndim == 2 else None


def _fit_positions(positions: Tensor, model: nn.Module) -> Change | None:
    """Resize absolute position embeddings to the model's grid."""
    if not isinstance(model, VisionTransformer | Beit) or positions.ndim != 3:
        return None
    prefix, grid = position_prefix(model), model.patch_embed.grid_size
    sides = _sides(positions.shape[1] - prefix, grid, lambda side: side)
    return Change(resize_positions(positions, sides, grid, prefix), "bicubic") if sides else None


def position_prefix(vit: VisionTransformer | Beit) -> int:
    """Return how many position embeddings of a ViT or BEiT belong to class and register tokens."""
    return 0 if getattr(vit, "no_embed_class", False) else int(vit.num_prefix_tokens)


def resize_positions(positions: Tensor, from_grid: Size, to_grid: Size, prefix: int) -> Tensor:
    """Resize position embeddings [1, prefix + h * w, D] to another grid; the first `prefix` stay as they are.

    Plain bicubic with half-pixel centres, as in the official code of MAE, Swin, ViTDet and mmseg; timm antialiases.
    """
    if from_grid == to_grid:
        return positions
    kept, grid = positions[:, :prefix], positions[:, prefix:]
    grid = grid.float().reshape(1, *from_grid, -1).permute(0, 3, 1, 2)
    resized = interpolate(grid, to_grid, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    return torch.cat([kept, resized.to(positions.dtype)], dim=1)


def _fit_kernel(kernel: Tensor, model: nn.Module) -> Change | None:
    """Adapt the patch embedding [D, channels, p, p] to the model's channels and patch."""
    wanted = model.get_parameter("patch_embed.proj.weight").shape
    if kernel.ndim != 4 or len(wanted) != 4:
        return None  # a linear embedding does not say its channels and patch
    modes = []
    if kernel.shape[1] != wanted[1]:
        kernel = adapt_channels(kernel, wanted[1])
        modes.append("channels-summed" if wanted[1] == 1 else "channels-repeated")
    if kernel.shape[2:] != wanted[2:]:
        kernel = resample_patch_embed(kernel, list(wanted[2:]))
        modes.append("pseudo-inverse")  # of the bicubic resize, so that a resized patch is embedded alike: FlexiViT
    return Change(kernel, ", ".join(modes))


def adapt_channels(kernel: Tensor, channels: int) -> Tensor:
    """Return a kernel [D, C, p, p] for images of other channels: summed for one, else repeated and scaled.

    Either way an image with equal channels is embedded as before. timm's convention.
    """
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    have = kernel.shape[1]
    repeated = kernel.repeat(1, math.ceil(channels / have), 1, 1)[:, :channels]
    return repeated * (have / channels)


def _share_tables(weights: Weights, model: nn.Module) -> Fitted:
    """Copy a shared bias table to every layer, as SimMIM's fine-tuning does; or equal tables of layers to a shared one.

    Tables of layers that differ have no shared equivalent: they are left alone.
    """
    wanted = [name for name in model.state_dict() if name.endswith(TABLE)]
    found = [name for name in weights if name.endswith(TABLE)]
    to_layers = found == [SHARED_TABLE] and bool(wanted) and SHARED_TABLE not in wanted
    to_shared = wanted == [SHARED_TABLE] and bool(found) and SHARED_TABLE not in found
    if not (to_layers or to_shared) or any(not weights[name].equal(weights[found[0]]) for name in found):
        return Fitted(weights, ())
    table, mode = weights[found[0]], "shared-to-layers" if to_layers else "layers-to-shared"
    others = {name: tensor for name, tensor in weights.items() if name not in found}
    copies = {name: table.clone() for name in wanted}
    return Fitted(others | copies, tuple(_record(name, table, table.shape, mode) for name in wanted))


def _sides(count: int, target: Size, size_of: Callable[[int], int | None]) -> Size | None:
    """Return the height and width of a source with `count` entries: a square, or else of the target's proportions.

    `size_of` turns the length of an axis into tokens (None: no such length). Returns None where nothing fits.
    A table or a grid does not say its shape; nearly all are square.
    """
    stretches: dict[Size, float] = {}
    for rows in range(1, count + 1):
        height, width = size_of(rows), size_of(count // rows)
        if count % rows == 0 and height and width:
            if height == width:
                return height, width
            stretches[height, width] = abs(math.log(height / width * target[1] / target[0]))
    best = min(stretches, key=stretches.__getitem__, default=None)
    return best if best and stretches[best] <= math.log(LARGEST_STRETCH) else None


_RULES: dict[str, Callable[[Tensor, nn.Module], Change | None]] = {
    "pos_embed": _fit_positions,
    "patch_embed.proj.weight": _fit_kernel,
}
