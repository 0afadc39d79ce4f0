"""Plain descriptions of a pickle's values, and the limits that what is described must keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch

from transfer.checkpoint.pickles.pickle_names import Name
from transfer.checkpoint.refusal import Limits, damaged, over_limit

Kind = Literal["tuple", "list", "dict", "set", "object", "array", "number", "tensor", "storage"]
PLAIN_KEYS = (str, int, float, bool, bytes, Name, torch.dtype)


@dataclass(eq=False, slots=True)
class Held:
    """What is known of a value that is more than a plain constant."""

    kind: Kind
    items: list[Any]
    """What a tuple or a list holds; of a storage, its element type and number of elements."""
    depth: int = 1
    """Containers within containers."""
    name: str = ""
    """Of an object, the name of its class."""


class Budget:
    """Adds up what one file asks for. Raises Refusal where that is more than its limits allow."""

    def __init__(self, limits: Limits, file_bytes: int) -> None:
        self.limits, self._file_bytes = limits, file_bytes
        self._spent = self._tensors = self._tensor_bytes = 0

    def spend(self, operations: int) -> None:
        """Count instructions, and items that one of them copies."""
        self._spent += operations
        if self._spent > self.limits.operations:
            rule = f"at most {self.limits.operations} pickle operations"
            raise over_limit(f"its pickle has more than {self.limits.operations} operations", rule)

    def admit(self, tensors: int, tensor_bytes: int) -> None:
        """Count tensors, and the bytes that they hold when they are unfolded."""
        self._tensors += tensors
        self._tensor_bytes += tensor_bytes
        if self._tensors > self.limits.tensors:
            rule = f"at most {self.limits.tensors} tensors in a file"
            raise over_limit(f"more than {self.limits.tensors} tensors", rule)
        if self._tensor_bytes > (most := self.limits.tensor_bytes(self._file_bytes)):
            rule = f"at most {most / 1e6:.0f} MB of tensors from a file of {self._file_bytes / 1e6:.3f} MB"
            raise over_limit(f"its tensors unfold to over {self._tensor_bytes / 1e6:.0f} MB", rule)

    def hold(self, kind: Kind, items: list[Any], name: str = "") -> Held:
        """Describe a container made of `items`."""
        return self.deepen(Held(kind, items, name=name), items)

    def deepen(self, container: Held, items: Iterable[Any]) -> Held:
        """Note that a container now holds `items`, which may be containers themselves."""
        container.depth = max([container.depth, *(1 + item.depth for item in items if isinstance(item, Held))])
        if container.depth > self.limits.nesting:
            rule = f"at most {self.limits.nesting} containers within each other"
            raise over_limit("its data is nested without end", rule)
        return container


def require_key(value: Any, depth: int = 0) -> None:
    """Raise Refusal for what may not be a mapping's key: to hash a long or deep tuple costs time at each use."""
    if isinstance(value, Held) and value.kind == "tuple" and len(value.items) <= 64 and depth < 3:
        for item in value.items:
            require_key(item, depth + 1)
    elif not (value is None or isinstance(value, PLAIN_KEYS) or value.kind in ("object", "number")):
        raise damaged("a mapping's key of a kind that has no hash, or too large a one")


def elements_of(sizes: Sequence[int]) -> int:
    """Return the number of elements of a shape. Raises Refusal for one that torch could not even describe."""
    if prod(max(size, 1) for size in sizes) >= 2**62:
        raise damaged(f"a tensor of the impossible shape {list(sizes)}")
    return prod(sizes)


def is_count(value: object) -> bool:
    """Tell whether a value can be a size, a stride or an offset."""
    return type(value) is int and 0 <= value < 2**63
