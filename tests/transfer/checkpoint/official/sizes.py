"""Sizes of published encoders, and names with their shapes."""

from __future__ import annotations

from typing import NamedTuple

Names = dict[str, tuple[int, ...]]


class Plain(NamedTuple):
    """Sizes of a plain transformer."""

    width: int
    depth: int
    hidden: int
    patch: int
    side: int
    """Patches along a side."""


BASE, SMALL = Plain(768, 12, 3072, 16, 14), Plain(128, 2, 384, 16, 4)


class Stages(NamedTuple):
    """Sizes of a model of four stages, each twice as wide as the one before."""

    width: int
    depths: tuple[int, ...]


def with_bias(name: str, *shape: int) -> Names:
    """Return a layer's weight of this shape, and its bias."""
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}
