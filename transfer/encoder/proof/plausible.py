"""Weights that no training leaves behind: constant, not finite, or still as a fresh initialisation makes them.

Copying proves names and shapes, not sense: an all-zero file and random weights load as well as trained ones. What the
numbers alone can show is found here; that they are the right ones, only a comparison of features shows (`parity.py`).

Some tensors of real encoders never move from where they began: a norm that the training did not use, biases without a
gradient, layer scales, tokens, tables, the last norm of a residual branch that started at zero. So a constant is odd
only in a matrix or a kernel, and a block counts as untrained only where everything in it agrees: each of its norms has
one value throughout and no bias, which the first step of any optimiser ends, and each of its matrices has the spread of
independent random numbers. Encoders without norms are not judged by this.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from torch import Tensor

_NUMBERED = re.compile(r"(.*\.\d+)(?:\.|$)|((?:.*\.)?[a-z_]+\d+)(?:\.|$)")
"""The innermost numbered module around a norm: `layers.0.blocks.1`, `layer1.0`; a RegNet's `s1.b1.conv1`."""
MOST_SPREAD, SAMPLING_ERRORS = 3.0, 8.0
"""Of the rows' (or columns') mean squares, in units of what independent random numbers have, and how many errors of
sampling are allowed beyond it; trained matrices exceed both many times."""
UNTRAINED = "as a fresh initialisation makes it: norms of one value and no bias, matrices of unrelated numbers"


def implausible(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return what no training leaves behind, as `NAME: what is odd`; empty for weights that may be trained.

    `weights` are an encoder's under timm's names; NAME is a tensor's, a block's or `all blocks`.
    """
    numbers = {name: tensor.detach() for name, tensor in weights.items() if tensor.is_floating_point()}
    odd = [f"{name}: {fault}" for name, tensor in numbers.items() if (fault := _fault(name, tensor)) is not None]
    return tuple(odd) or _untrained(numbers)


def _fault(name: str, tensor: Tensor) -> str | None:
    """Return what is wrong with a single tensor; one minimum and one maximum are all that it takes."""
    if not tensor.numel():
        return "empty"
    low, high = tensor.aminmax()
    if not (low.isfinite() and high.isfinite()):
        return f"{int((~tensor.isfinite()).sum())} of {tensor.numel()} numbers are not finite"
    if low == high and _is_matrix(name, tensor):
        return f"all {tensor.numel()} numbers are {low.item():g}"
    return None


def _is_matrix(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is a layer's matrix or kernel, not a norm, a bias, a table or a token."""
    return name.endswith(".weight") and tensor.ndim >= 2 and tensor.shape[0] > 1 and tensor[0].numel() > 1


def _untrained(numbers: Mapping[str, Tensor]) -> tuple[str, ...]:
    norms: dict[str, list[str]] = defaultdict(list)
    for name, tensor in numbers.items():
        around, _, last = name.rpartition(".")
        block = _NUMBERED.match(around.rpartition(".")[0])
        if block and last == "weight" and tensor.ndim == 1 and tensor.numel() > 1:
            norms[block[1] or block[2]].append(name)
    matrices: dict[str, list[str]] = defaultdict(list)
    for name in (name for name, tensor in numbers.items() if _is_matrix(name, tensor)):
        if owner := _owner(name, norms):
            matrices[owner].append(name)
    found = [block for block in matrices if _is_untrained(numbers, norms[block], matrices[block])]
    return (f"all blocks: {UNTRAINED}",) if found and len(found) == len(matrices) else _each(found)


def _each(blocks: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{block}: {UNTRAINED}" for block in blocks)


def _owner(name: str, blocks: Mapping[str, object]) -> str | None:
    """Return the innermost of the blocks that a tensor lies in."""
    return max((block for block in blocks if name.startswith(f"{block}.")), key=len, default=None)


def _is_untrained(numbers: Mapping[str, Tensor], norms: Sequence[str], matrices: Sequence[str]) -> bool:
    biases = [numbers.get(f"{name.removesuffix('weight')}bias") for name in norms]
    unmoved = all(_is_constant(numbers[name]) for name in norms)
    unmoved = unmoved and not any(bias is not None and bool(bias.any()) for bias in biases)
    return unmoved and all(_is_unrelated(numbers[name]) for name in matrices)


def _is_constant(tensor: Tensor) -> bool:
    low, high = tensor.aminmax()
    return bool(low == high)


def _is_unrelated(matrix: Tensor) -> bool:
    """Return whether rows and columns differ in their mean squares no more than those of independent numbers do."""
    squares = matrix.float().flatten(1).square()
    each = squares.var().item()  # of a single number's square
    for along in (0, 1):
        means, count = squares.mean(dim=1 - along), squares.shape[1 - along]
        if len(means) == 1 or count == 1:
            continue
        most = MOST_SPREAD + SAMPLING_ERRORS * math.sqrt(2 / (len(means) - 1))
        if means.var().item() * count > most * each:
            return False
    return True
