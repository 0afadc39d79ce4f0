"""NumPy's arrays, types and scalars as pickles spell them, read by value: NumPy itself rebuilds nothing of a file's."""

from __future__ import annotations

import numpy as np
import torch

from transfer.checkpoint.pickles.described import elements_of, is_count
from transfer.checkpoint.refusal import damaged

_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}


class NumpyType:
    """numpy.dtype as a pickle spells it: kind and size first, byte order by a BUILD that follows."""

    def __init__(self, code: object, *_: object) -> None:
        text = code.lstrip("<>=|") if isinstance(code, str) else ""
        self.numpy: np.dtype[np.generic] | None = np.dtype(text) if text in _NUMBERS else None
        """None for structured, text and object types, of which no network is made."""

    def __setstate__(self, state: object) -> None:
        """Take the byte order out of the state `(version, order, ...)`."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise damaged("a NumPy dtype without a byte order")
        if self.numpy is not None and order in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(order)


class Array:
    """A NumPy array: made empty, given its bytes by a BUILD, and turned into a tensor when all is read."""

    def __init__(self, *args: object) -> None:
        self.state: tuple[object, ...] = args
        self._values: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None = None

    def __setstate__(self, state: object) -> None:
        """Take the state `(version, shape, dtype, is_fortran, bytes)`."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise damaged("a NumPy array without its state")
        self.state = state
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, NumpyType) or dtype.numpy is None:
            return
        data = data.encode("latin1") if isinstance(data, str) else data  # bytes of a Python 2 pickle
        if not isinstance(shape, tuple) or not all(map(is_count, shape)) or len(shape) > 32:
            raise damaged("a NumPy array without a shape")
        if not isinstance(data, bytes | bytearray):
            raise damaged("a NumPy array without bytes")
        if (needed := elements_of(shape) * dtype.numpy.itemsize) != len(data):
            raise damaged(f"a NumPy array of {len(data)} bytes where its shape {list(shape)} needs {needed}")
        self._values = np.frombuffer(data, dtype.numpy).reshape(shape, order="F" if fortran is True else "C")

    def tensor(self) -> torch.Tensor | None:
        """Return the numbers; None for an array of text, objects or records."""
        if self._values is None:
            return None
        return torch.from_numpy(self._values.astype(self._values.dtype.newbyteorder("="), copy=True))


def _from_buffer(data: object, dtype: object, shape: object, order: object) -> Array:
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: object, data: object = b"") -> object:
    """Return a Python number from its bytes; None for what is no number."""
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, NumpyType) or dtype.numpy is None:
        return None
    if not isinstance(raw, bytes) or len(raw) != dtype.numpy.itemsize:
        raise damaged("a NumPy scalar of another length than its type")
    return np.frombuffer(raw, dtype.numpy)[0].item()


ARRAY_NAMES = {
    "numpy.dtype": NumpyType,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.multiarray._reconstruct": Array,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
