"""The order of tokens in which windows lie one after the other, so that cutting a map into windows moves nothing.

Norms, linear layers and MLPs treat every token by itself, in whatever order tokens come. Between blocks whose windows
lie alike nothing is to be done; a block with shifted windows reorders its tokens once.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.families.windows.position_tables import Size


@dataclass(frozen=True)
class Grid:
    """How one block cuts its map: the map's size, the window, and by how much windows are shifted, in tokens."""

    size: Size
    window: Size
    shift: Size

    def order(self) -> Tensor:
        """Return the row-by-row number of each token [H * W], window by window, rows within each window."""
        (height, width), (rows, columns) = self.size, self.window
        numbers = torch.arange(height * width).view(height, width).roll((-self.shift[0], -self.shift[1]), (0, 1))
        return numbers.view(height // rows, rows, width // columns, columns).transpose(1, 2).flatten()


@dataclass(frozen=True)
class Reorder:
    """A permutation of tokens, and the one that undoes it."""

    there: Tensor
    back: Tensor

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return tokens [B, N, D] in the new order."""
        result: Tensor = _Reordered.apply(tokens, self.there, self.back)
        return result


class _Reordered(torch.autograd.Function):
    """Takes tokens in another order, forwards and backwards: torch's own gradient of a selection adds up, in turn."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return tokens.index_select(1, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].index_select(1, ctx.back), None, None


@dataclass(frozen=True)
class StageOrder:
    """What is done to the order of tokens in one stage; None where they lie as they have to."""

    merge: Reorder | None
    """Before patches are merged: the four tokens of each, one after the other, in the order of the first block."""
    blocks: tuple[Reorder | None, ...]
    """Before each block."""


@functools.lru_cache(maxsize=16)
def stage_orders(
    stages: tuple[tuple[Grid, ...], ...], device: torch.device
) -> tuple[tuple[StageOrder, ...], Reorder | None]:
    """Return the orders of each stage's blocks, and what brings the last block's tokens back to rows."""
    (height, width), found = stages[0][0].size, []
    present = torch.arange(height * width)
    for number, grids in enumerate(stages):
        merge = None
        if number:
            first = grids[0].order()
            merge = _reorder(present, _of_patches(first, grids[0].size), device)
            present = first
        blocks = []
        for grid in grids:
            wanted = grid.order()
            blocks.append(_reorder(present, wanted, device))
            present = wanted
        found.append(StageOrder(merge, tuple(blocks)))
    return tuple(found), _reorder(present, present.sort().values, device)


def _of_patches(order: Tensor, size: Size) -> Tensor:
    """Return the numbers of the tokens [4 * H * W] that merge to tokens in this order of a map [H, W].

    The upper left one comes first, then the one below it, as in timm, which keeps the official code's weights.
    """
    rows, columns = order // size[1] * 2, order % size[1] * 2
    places = [(rows + row) * size[1] * 2 + columns + column for column in (0, 1) for row in (0, 1)]
    return torch.stack(places, dim=1).flatten()


def _reorder(present: Tensor, wanted: Tensor, device: torch.device) -> Reorder | None:
    """Return the step from one order of all tokens to another."""
    if present.equal(wanted):
        return None
    there = present.argsort()[wanted]
    return Reorder(there.to(device), there.argsort().to(device))
