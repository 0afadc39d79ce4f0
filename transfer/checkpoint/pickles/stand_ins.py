"""What stands for the objects of a pickle while it is read: descriptions, none of which can be called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from transfer.checkpoint.pickles.budget import Budget, elements_of, is_count
from transfer.checkpoint.refusal import damaged

_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}


@dataclass(eq=False)
class Inert:
    """What a file says about an object of a class that is not loaded: its name and data, no behaviour.

    Objects with entries, as a yacs CfgNode, are no stubs: they are read as dicts, and those with elements as lists.
    """

    name: str
    """E.g. `argparse.Namespace`."""
    args: tuple[object, ...] = ()
    state: object = None
    held: dict[object, object] | list[object] | None = field(default=None, repr=False)
    """The entries or elements, while the file is read."""

    def __repr__(self) -> str:
        return f"<inert {self.name}>"

    def build(self, state: object, _: Budget) -> None:
        """Keep the state, with which an object's own code would do whatever it likes."""
        self.state = state


@dataclass(frozen=True)
class Storage:
    """A run of numbers that lies elsewhere in the file; `start` and `count` are in elements."""

    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


@dataclass(eq=False)
class TensorView:
    """A tensor as a part of a storage, which has been checked to lie within it."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    """In elements, from the beginning of the bytes that belong to the storage's key."""
    size: tuple[int, ...]
    stride: tuple[int, ...]
    marks: dict[str, bool]
    """`conj` and `neg`, where torch has noted them instead of computing them."""

    def build(self, state: object, _: Budget) -> None:
        """Accept what parameters of torch before 0.4 were given: whether they need a gradient, are volatile, hooks."""
        if not isinstance(state, tuple) or len(state) != 3:
            raise damaged("its pickle sets the attributes of something that has none")

    def tensor(self, raw: torch.UntypedStorage) -> torch.Tensor:
        """Return the tensor, given the bytes of the storage's key."""
        tensor = torch.empty(0, dtype=self.dtype).set_(raw, self.offset, self.size, self.stride)
        set_tensor_metadata: Any = torch._utils.set_tensor_metadata  # which has no types
        set_tensor_metadata(tensor, self.marks)
        return tensor


@dataclass(eq=False)
class NumpyType:
    """numpy.dtype as a pickle spells it: kind and size first, byte order by a BUILD that follows."""

    numpy: np.dtype[np.generic] | None
    """None for structured, text and object types, of which no network is made."""

    @classmethod
    def of(cls, code: object) -> NumpyType:
        text = code.lstrip("<>=|") if isinstance(code, str) else ""
        return cls(np.dtype(text) if text in _NUMBERS else None)

    def build(self, state: object, _: Budget) -> None:
        """Take the byte order out of the state `(version, order, ...)`."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise damaged("a NumPy dtype without a byte order")
        if self.numpy is not None and order in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(order)

    @staticmethod
    def scalar(dtype: object, data: object) -> object:
        """Return a Python number from its bytes; None for what is no number."""
        if not isinstance(dtype, NumpyType) or dtype.numpy is None:
            return None
        raw = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(raw, bytes) or len(raw) != dtype.numpy.itemsize:
            raise damaged("a NumPy scalar of another length than its type")
        return np.frombuffer(raw, dtype.numpy)[0].item()


@dataclass(eq=False)
class Array:
    """A NumPy array: made empty, given its bytes by a BUILD, and turned into a tensor when all is read."""

    state: tuple[object, ...]
    values: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None = None
    """None for an array of text, objects or records."""

    def build(self, state: object, budget: Budget) -> None:
        """Take the state `(version, shape, dtype, is_fortran, bytes)`."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise damaged("a NumPy array without its state")
        self.state = state
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, NumpyType) or dtype.numpy is None:
            return
        if not isinstance(shape, tuple) or not all(map(is_count, shape)) or len(shape) > 32:
            raise damaged("a NumPy array without a shape")
        if not isinstance(data, str | bytes | bytearray):
            raise damaged("a NumPy array without bytes")
        budget.admit(1, len(data))
        data = data.encode("latin1") if isinstance(data, str) else data  # bytes of a Python 2 pickle
        if (needed := elements_of(shape) * dtype.numpy.itemsize) != len(data):
            raise damaged(f"a NumPy array of {len(data)} bytes where its shape {list(shape)} needs {needed}")
        self.values = np.frombuffer(data, dtype.numpy).reshape(shape, order="F" if fortran is True else "C")

    def tensor(self) -> torch.Tensor | Inert:
        """Return the numbers in this machine's byte order."""
        if self.values is None:
            return Inert("numpy.ndarray", self.state)
        return torch.from_numpy(self.values.astype(self.values.dtype.newbyteorder("="), copy=True))
