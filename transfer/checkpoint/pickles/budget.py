"""What one file may ask for, added up while it is read."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from transfer.checkpoint.refusal import Limits, damaged, over_limit


class Budget:
    """Adds up what one file asks for. Raises Refusal where that is more than its limits allow."""

    def __init__(self, limits: Limits, file_bytes: int) -> None:
        self.limits, self._file_bytes = limits, file_bytes
        self._spent = self._tensors = self._tensor_bytes = 0

    def spend(self, operations: int) -> None:
        """Count instructions, and items that one of them copies or hashes."""
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


def elements_of(sizes: Sequence[int]) -> int:
    """Return the number of elements of a shape. Raises Refusal for one that torch could not even describe."""
    if prod(max(size, 1) for size in sizes) >= 2**62:
        raise damaged(f"a tensor of the impossible shape {list(sizes)}")
    return prod(sizes)


def is_count(value: object) -> bool:
    """Tell whether a value can be a size, a stride or an offset."""
    return type(value) is int and 0 <= value < 2**63
