"""Tensors, arrays and scalars out of a file's raw bytes, with every offset, size and stride checked first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from transfer.checkpoint.files.refusal import Limits, Refusal, damaged, over_limit, unsupported

STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
    "_UntypedStorage": torch.uint8,
}
QUANTIZED_STORAGES = {"QUInt8Storage", "QInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage"}
_DTYPE_NAMES = """
    float64 double float32 float float16 half bfloat16 float8_e4m3fn float8_e5m2 complex128 cdouble complex64 cfloat
    int64 long int32 int int16 short int8 uint8 uint16 uint32 uint64 bool
"""
DTYPES: Mapping[str, torch.dtype] = {f"torch.{name}": getattr(torch, name) for name in _DTYPE_NAMES.split()}


@dataclass(frozen=True)
class Storage:
    """A run of equal numbers in memory: `count` of `dtype`, from element `start` of `raw` on."""

    raw: torch.UntypedStorage
    dtype: torch.dtype
    start: int
    count: int

    def view(self, offset: int, count: int) -> Storage:
        """Return a part of it; both numbers are counts already."""
        if offset + count > self.count:
            raise damaged(f"a view of {count} elements from {offset} on a storage of {self.count}")
        return Storage(self.raw, self.dtype, self.start + offset, count)


LoadStorage = Callable[[str, torch.dtype, int], Storage]
"""Returns the storage of a key; its dtype and number of elements are the file's claim, to be checked."""


def no_storage(key: str, dtype: torch.dtype, count: int) -> Storage:
    raise damaged(f"storage {key!r} ({count} x {dtype}) is asked for, but a bare pickle holds none")


def from_bytes(data: memoryview | bytearray, dtype: torch.dtype) -> Tensor:
    """Return a flat tensor over `data` (whole items), without a copy where its address suits `dtype`."""
    if len(data) == 0:
        return torch.empty(0, dtype=dtype)
    flat = torch.frombuffer(data, dtype=torch.uint8)
    return (flat if flat.data_ptr() % dtype.itemsize == 0 else flat.clone()).view(dtype)


def with_swapped_bytes(flat: Tensor) -> Tensor:
    """Return a copy of a flat tensor in the other byte order."""
    number_bytes = flat.dtype.itemsize // (2 if flat.is_complex() else 1)
    return flat.view(torch.uint8).reshape(-1, number_bytes).flip(1).reshape(-1).view(flat.dtype)


def elements_of(sizes: Sequence[int]) -> int:
    """Return the number of elements of a shape. Raises Refusal for one that torch could not even describe."""
    if prod(max(size, 1) for size in sizes) >= 2**62:
        raise damaged(f"a tensor of the impossible shape {list(sizes)}")
    return prod(sizes)


def is_count(value: object) -> bool:
    """Tell whether a value can be a size, a stride or an offset."""
    return type(value) is int and 0 <= value < 2**63


@dataclass
class Rebuilder:
    """Makes tensors and adds up what they ask for."""

    limits: Limits
    file_bytes: int
    tensors: int = field(default=0, init=False)
    total_bytes: int = field(default=0, init=False)

    def tensor(self, storage: object, offset: object, size: object, stride: object, dtype: object = None) -> Tensor:
        """Return the strided view that a file describes. Raises Refusal unless all of it lies in its storage."""
        if not isinstance(storage, Storage):
            raise damaged("a tensor without a storage")
        if dtype is not None and dtype is not storage.dtype:
            storage = _as_dtype(storage, dtype)
        sizes, strides = _counts(size), _counts(stride)
        if not is_count(offset) or sizes is None or strides is None or len(sizes) != len(strides) or len(sizes) > 64:
            raise damaged("a tensor with impossible sizes, strides or offset")
        assert isinstance(offset, int)
        elements = self._admit(sizes, storage.dtype.itemsize)
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if elements and last >= storage.count:
            raise damaged(f"a tensor reaches element {last} of a storage that has {storage.count}: out of bounds")
        result = torch.empty(0, dtype=storage.dtype)
        if elements == 0:
            return result.reshape(sizes)
        return result.set_(storage.raw, storage.start + offset, sizes, strides)

    def array(self, data: object, dtype: NumpyType, shape: object, fortran: bool = False) -> Tensor:
        """Return a NumPy array as a tensor, its bytes in C order (or Fortran's)."""
        sizes = _counts(shape)
        if isinstance(data, str):  # bytes of a Python 2 pickle
            data = data.encode("latin1")
        if sizes is None or len(sizes) > 32 or not isinstance(data, bytes | bytearray):
            raise damaged("a NumPy array without a shape or bytes")
        needed = self._admit(sizes, dtype.numpy.itemsize) * dtype.numpy.itemsize
        if needed != len(data):
            raise damaged(f"a NumPy array of {len(data)} bytes where its shape {list(sizes)} needs {needed}")
        native = np.frombuffer(data, dtype.numpy).astype(dtype.numpy.newbyteorder("="), copy=True)
        return torch.from_numpy(native.reshape(sizes, order="F" if fortran else "C"))

    def _admit(self, sizes: tuple[int, ...], item_bytes: int) -> int:
        """Count one more tensor and return its number of elements."""
        elements = elements_of(sizes)
        self.tensors += 1
        self.total_bytes += elements * item_bytes
        if self.tensors > self.limits.tensors:
            raise over_limit(
                f"more than {self.limits.tensors} tensors", f"at most {self.limits.tensors} tensors in a file"
            )
        if self.total_bytes > (most := self.limits.tensor_bytes(self.file_bytes)):
            rule = f"at most {most / 1e6:.0f} MB of tensors from a file of {self.file_bytes / 1e6:.3f} MB"
            raise over_limit(f"its tensors unfold to over {self.total_bytes / 1e6:.0f} MB", rule)
        return elements


@dataclass
class NumpyType:
    """numpy.dtype as a pickle spells it: kind and size first, byte order by a BUILD that follows."""

    numpy: np.dtype[np.generic]

    @classmethod
    def of(cls, code: object) -> NumpyType | None:
        """Return the type of a code such as `f4`; None for structured, text and object types."""
        known = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
        text = code.lstrip("<>=|") if isinstance(code, str) else ""
        return cls(np.dtype(text)) if text in known else None

    def build(self, state: object) -> None:
        """Take the byte order out of the state `(version, order, ...)`."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise damaged("a NumPy dtype without a byte order")
        if order in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(order)

    def scalar(self, data: object) -> object:
        """Return a Python number from its bytes."""
        raw = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(raw, bytes) or len(raw) != self.numpy.itemsize:
            raise damaged("a NumPy scalar of another length than its type")
        return np.frombuffer(raw, self.numpy)[0].item()


@dataclass(eq=False)
class PendingArray:
    """A NumPy array between its creation and the BUILD that brings its bytes."""

    memo_slots: list[int] = field(default_factory=list)


def _as_dtype(storage: Storage, dtype: object) -> Storage:
    """Read an untyped storage as numbers of `dtype`."""
    if not isinstance(dtype, torch.dtype) or storage.dtype is not torch.uint8 or storage.start:
        raise damaged("a tensor of another type than its storage")
    return Storage(storage.raw, dtype, 0, storage.count // dtype.itemsize)


def _counts(value: object) -> tuple[int, ...] | None:
    if isinstance(value, tuple | list) and all(map(is_count, value)):
        return tuple(value)
    return None


def quantized() -> Refusal:
    return unsupported("it holds quantized tensors", "dequantize the model before saving: tensor.dequantize()")
