"""What an unpickled value becomes: plain data, tensors in place of views and arrays, and stubs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from transfer.checkpoint.pickles.stand_ins import Array, Inert, TensorView
from transfer.checkpoint.refusal import Limits, Refusal, over_limit, senseless

RawStorage = Callable[[str, torch.dtype], torch.UntypedStorage]
"""Returns the bytes of the storage of a key, which are numbers of a dtype; the same object each time."""


def no_raw_storage(key: str, _: torch.dtype) -> torch.UntypedStorage:
    """There are no storages beside a bare pickle."""
    raise AssertionError(f"storage {key} has been refused before")


def settled(value: object, limits: Limits, raw: RawStorage = no_raw_storage) -> tuple[object, frozenset[str]]:
    """Return content that is ready for use, and the names of the classes for which stubs stand in it."""
    settling = _Settling(limits, raw)
    try:
        return settling.settle(value), frozenset(settling.inert)
    except Refusal:
        raise
    except Exception as error:  # as a tensor of a type that torch does not make
        raise senseless(error) from None


class _Settling:
    """Walks through a value once; what is shared in it stays shared."""

    def __init__(self, limits: Limits, raw: RawStorage) -> None:
        self._limits, self._raw = limits, raw
        self.inert: set[str] = set()
        self._done: dict[int, tuple[object, object]] = {}
        """By the id of a value: itself, as an id is a value's only while that lives, and what it became."""

    def settle(self, value: object, depth: int = 1) -> object:
        if type(value) is int and value.bit_length() > (most := self._limits.integer_bits):
            rule = f"integers of at most {most} bits"
            raise over_limit(f"its pickle has an integer of {value.bit_length()} bits", rule)
        if not isinstance(value, TensorView | Array | Inert | dict | list | tuple):
            return value
        if id(value) not in self._done:
            if depth > self._limits.nesting:
                rule = f"at most {self._limits.nesting} containers within each other"
                raise over_limit("its data is nested without end", rule)
            self._done[id(value)] = value, value  # of a container within itself
            self._done[id(value)] = value, self._exchanged(value, depth + 1)
        return self._done[id(value)][1]

    def _exchanged(self, value: object, depth: int) -> object:
        if isinstance(value, TensorView):
            return value.tensor(self._raw(value.storage.key, value.storage.dtype))
        if isinstance(value, Array):
            return value.tensor()
        if isinstance(value, Inert):
            self.inert.add(value.name)
            if value.held is not None:
                return self.settle(value.held, depth)
            value.args = tuple(self.settle(item, depth) for item in value.args)
            value.state = self.settle(value.state, depth)
        elif isinstance(value, dict):
            for key, item in value.items():
                value[key] = self.settle(item, depth)
        elif isinstance(value, list):
            value[:] = [self.settle(item, depth) for item in value]
        elif isinstance(value, tuple):
            items = tuple(self.settle(item, depth) for item in value)
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return value
