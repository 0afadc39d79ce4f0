"""Tensors that remember which others they were made of: a layout's functions, followed without any values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Traced(Tensor):
    """A tensor without values that remembers the names it was made of, through whatever a layout does to it."""

    origins: frozenset[str] = frozenset()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
        origins = frozenset().union(*(tensor.origins for tensor in _tensors(args)))
        for tensor in _tensors((made,)):
            tensor.origins = origins
        return made


def _tensors(values: Any) -> Iterable[Traced]:
    for value in values:
        if isinstance(value, Traced):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def traced(name: str, shape: tuple[int, ...]) -> Traced:
    """Return a tensor without values that remembers this name."""
    tensor = torch.empty(shape, device="meta").as_subclass(Traced)
    tensor.origins = frozenset({name})
    return tensor


def origins_of(tensor: Tensor) -> frozenset[str]:
    """Return the names of which a tensor was made."""
    return tensor.origins if isinstance(tensor, Traced) else frozenset()
