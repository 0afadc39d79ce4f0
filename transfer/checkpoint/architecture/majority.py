"""Shapes on which most tensors of a kind agree, so that one odd tensor is reported by name and decides nothing."""

from __future__ import annotations

import re
from collections import Counter

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.layout import Weights

Sizes = dict[str, tuple[int, ...]]
INCOMPLETE = "take the whole checkpoint; where this is another kind of model, say which with --architecture"


def sizes_of(weights: Weights) -> Sizes:
    """Return the shapes of tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def usual(sizes: Sizes, pattern: str, dimensions: int, shown: str) -> tuple[int, ...]:
    """Return the most frequent shape of the tensors that match. Raises UserError, naming `shown`, where none does."""
    found = Counter(size for name, size in sizes.items() if re.fullmatch(pattern, name) and len(size) == dimensions)
    if not found:
        rule = f"a tensor of {dimensions} dimensions, which shows the architecture"
        raise UserError.about(shown, "(missing)", rule, INCOMPLETE)
    return found.most_common(1)[0][0]


def depths(sizes: Sizes, pattern: str, shown: str, first: int = 0) -> tuple[int, ...]:
    """Return the number of blocks of each stage.

    `pattern` matches the beginning of names and captures the number of the stage, which begins at `first`, and that of
    the block. Raises UserError, naming a stage as `shown`, where one has no block.
    """
    counts: dict[int, int] = {}
    for name in sizes:
        if match := re.match(pattern, name):
            stage, block = int(match[1]), int(match[2])
            counts[stage] = max(counts.get(stage, 0), block + 1)
    stages = range(first, max(counts, default=first) + 1)
    if missing := [stage for stage in stages if stage not in counts]:
        raise UserError.about(shown.format(missing[0]), "(missing)", "blocks in every stage", INCOMPLETE)
    return tuple(counts[stage] for stage in stages)
