"""What stands in for each call a pickle may ask for: our own functions for tensors and data, a stub for the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch

from transfer.checkpoint.files.refusal import damaged, unsafe, unsupported
from transfer.checkpoint.pickles.pickle_names import Inert, Name, judge, may_stand_inert
from transfer.checkpoint.pickles.rebuild import (
    QUANTIZED_STORAGES,
    STORAGE_TYPES,
    NumpyType,
    PendingArray,
    Rebuilder,
    is_count,
    quantized,
)

Arguments = tuple[object, ...]
PLAIN_KEYS = (str, int, float, bool, bytes, complex, Name, Inert, torch.dtype)


class Calls:
    """Answers the calls of one file. `spend` is told how many items each copies."""

    def __init__(self, rebuilder: Rebuilder, spend: Callable[[int], None]) -> None:
        self._rebuilder = rebuilder
        self._spend = spend

    def call(self, callee: object, args: object, as_class: bool = False) -> object:
        """Return what `callee(*args)` stands for; `as_class` where the pickle itself says that it is a class.

        Raises Refusal for functions outside the table: nothing of another package is ever called.
        """
        if not isinstance(args, tuple):
            raise damaged("a call whose arguments are not a tuple")
        if not isinstance(callee, Name):
            raise damaged("a call of something that is neither a class nor a function")
        if (answer := _ANSWERS.get(str(callee))) is not None:
            return answer(self, args)
        if callee.module.startswith("torch") and callee.name.startswith("_rebuild"):
            raise _other_tensor(callee)
        if as_class or may_stand_inert(callee):
            return Inert(str(callee), args)
        raise unsafe(f"call {callee}")

    def _mapping(self, args: Arguments) -> object:
        result: dict[object, object] = {}
        pairs = args[0] if args else ()
        for pair in pairs.items() if isinstance(pairs, dict) else self._items(pairs):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise damaged("a mapping made of something else than pairs")
            result[key_of(pair[0])] = pair[1]
        self._spend(len(result))
        return result

    def _empty_mapping(self, _: Arguments) -> object:  # a defaultdict's factory is of no use to data
        return {}

    def _list(self, args: Arguments) -> object:
        return list(self._items(args[0] if args else ()))

    def _tuple(self, args: Arguments) -> object:
        return tuple(self._items(args[0] if args else ()))

    def _set(self, args: Arguments) -> object:
        return {key_of(item) for item in self._items(args[0] if args else ())}

    def _items(self, value: object) -> list[object]:
        if not isinstance(value, list | tuple | set):
            raise damaged("a container made of something else than a list")
        self._spend(len(value))
        return list(value)

    def _size(self, args: Arguments) -> object:
        sizes = self._tuple(args)
        if not isinstance(sizes, tuple) or not all(map(is_count, sizes)):
            raise damaged("a torch.Size of something else than sizes")
        return sizes

    def _bytes(self, args: Arguments) -> object:
        """bytes(), bytes([..]), bytearray(b), bytearray(text, 'latin-1') and _codecs.encode(text, 'latin1')."""
        value = args[0] if args else b""
        if not isinstance(value, str | bytes):
            raise damaged("bytes made of something else than text")
        self._spend(len(value) // 16)
        return value.encode("latin1") if isinstance(value, str) else value

    def _complex(self, args: Arguments) -> object:
        real, imaginary = self._some(args, 2)
        if not isinstance(real, int | float) or not isinstance(imaginary, int | float):
            raise damaged("a complex number of something else than two numbers")
        return complex(real, imaginary)

    def _type(self, args: Arguments) -> object:
        if args == (None,):  # how NoneType is written
            return Name("builtins", "NoneType")
        raise unsafe("call builtins.type")

    def _attribute(self, args: Arguments) -> object:
        """A nested class or a method, which older protocols write as getattr(class, name): a name it stays."""
        if len(args) == 2 and isinstance(args[0], Name) and isinstance(args[1], str):
            return judge(args[0].module, f"{args[0].name}.{args[1]}")
        raise unsafe("call builtins.getattr")

    def _getitem(self, args: Arguments) -> object:
        if args and isinstance(args[0], Name) and args[0].module == "typing":  # how typing.Optional[int] is written
            return Inert(str(args[0]), args[1:])
        raise unsafe("call operator.getitem")

    def _instance(self, args: Arguments) -> object:
        """copyreg._reconstructor(cls, base, state) and copyreg.__newobj__(cls, *args)."""
        if not args:
            raise damaged("an object without a class")
        return self.call(args[0], (), as_class=True)

    def _device(self, args: Arguments) -> object:
        return ":".join(str(part) for part in args[:2] if isinstance(part, str | int))

    def _tensor(self, args: Arguments) -> object:
        storage, offset, size, stride = self._some(args, 4)
        return self._rebuilder.tensor(storage, offset, size, stride)

    def _tensor_v2(self, args: Arguments) -> object:
        storage, offset, size, stride = self._some(args, 4)
        tensor = self._rebuilder.tensor(storage, offset, size, stride)
        return _with_bits(tensor, args[6] if len(args) > 6 else None)

    def _tensor_v3(self, args: Arguments) -> object:
        storage, offset, size, stride, _, _, dtype = self._some(args, 7)
        tensor = self._rebuilder.tensor(storage, offset, size, stride, dtype)
        return _with_bits(tensor, args[7] if len(args) > 7 else None)

    def _parameter(self, args: Arguments) -> object:
        """A parameter is read as a plain tensor: whether it was trained is not the reader's business."""
        (data,) = self._some(args, 1)
        if not isinstance(data, torch.Tensor):
            raise damaged("a parameter without a tensor")
        return data

    def _subclass(self, args: Arguments) -> object:
        """torch._tensor._rebuild_from_type_v2(function, type, arguments, state)."""
        function, kind, arguments = self._some(args, 3)
        if str(kind).startswith("torch.distributed"):
            raise unsupported("it holds distributed tensors", "gather them first: save the full state dict")
        if str(function) not in _TENSOR_MAKERS:
            raise unsafe(f"call {function}")
        return self.call(function, arguments)

    def _array(self, _: Arguments) -> object:
        return PendingArray()

    def _array_from_buffer(self, args: Arguments) -> object:
        data, dtype, shape, order = self._some(args, 4)
        if not isinstance(dtype, NumpyType):
            return Inert("numpy.ndarray", args)
        return self._rebuilder.array(data, dtype, shape, fortran=order == "F")

    def _numpy_type(self, args: Arguments) -> object:
        return NumpyType.of(self._some(args, 1)[0]) or Inert("numpy.dtype", args)

    def _numpy_scalar(self, args: Arguments) -> object:
        dtype, data = self._some(args, 2)
        return dtype.scalar(data) if isinstance(dtype, NumpyType) else Inert("numpy.generic", args)

    @staticmethod
    def _some(args: Arguments, count: int) -> Arguments:
        if len(args) < count:
            raise damaged("a call with too few arguments")
        return args[:count]


def key_of(value: object, depth: int = 0) -> object:
    """Return `value` if it may be a key. Long or deep tuples may not: hashing them costs each time."""
    plain = value is None or isinstance(value, PLAIN_KEYS)
    if plain or (
        isinstance(value, tuple) and len(value) <= 64 and depth < 3 and all(key_of(v, depth + 1) is v for v in value)
    ):
        return value
    raise damaged("a mapping's key of a kind that has no hash, or too large a one")


def _with_bits(tensor: torch.Tensor, metadata: object) -> torch.Tensor:
    """Apply the bits that torch keeps beside tensors, as views: a legacy file's numbers are not there yet."""
    if not isinstance(metadata, dict):
        return tensor
    tensor = tensor.conj() if metadata.get("conj") else tensor
    return torch._neg_view(tensor) if metadata.get("neg") else tensor


def _other_tensor(callee: Name) -> Exception:
    kinds = {"_rebuild_qtensor": quantized()}
    if "sparse" in callee.name:
        return unsupported("it holds sparse tensors", "save dense ones: tensor.to_dense()")
    return kinds.get(callee.name) or unsupported(
        f"it holds tensors of a special kind ({callee})", "save plain CPU tensors"
    )


def storage_dtype(name: object) -> torch.dtype:
    """Return the dtype of `torch.FloatStorage` and its like."""
    if isinstance(name, Name) and name.module.startswith("torch"):
        if name.name in QUANTIZED_STORAGES:
            raise quantized()
        if name.name in STORAGE_TYPES:
            return STORAGE_TYPES[name.name]
    raise damaged("a storage of an unknown type")


_TENSOR_MAKERS = {
    "torch._utils._rebuild_tensor": Calls._tensor,
    "torch._utils._rebuild_tensor_v2": Calls._tensor_v2,
    "torch._utils._rebuild_tensor_v3": Calls._tensor_v3,
    "torch._utils._rebuild_parameter": Calls._parameter,
    "torch._utils._rebuild_parameter_with_state": Calls._parameter,
}
_ANSWERS: dict[str, Callable[[Calls, Arguments], object]] = {
    **_TENSOR_MAKERS,
    "torch._tensor._rebuild_from_type_v2": Calls._subclass,
    "torch.nn.parameter.Parameter": Calls._parameter,
    "torch.Size": Calls._size,
    "torch.device": Calls._device,
    "collections.OrderedDict": Calls._mapping,
    "collections.Counter": Calls._mapping,
    "collections.defaultdict": Calls._empty_mapping,
    "builtins.dict": Calls._mapping,
    "builtins.list": Calls._list,
    "builtins.tuple": Calls._tuple,
    "builtins.set": Calls._set,
    "builtins.frozenset": Calls._set,
    "builtins.bytes": Calls._bytes,
    "builtins.bytearray": Calls._bytes,
    "builtins.complex": Calls._complex,
    "builtins.type": Calls._type,
    "builtins.getattr": Calls._attribute,
    "operator.getitem": Calls._getitem,
    "copyreg._reconstructor": Calls._instance,
    "copyreg.__newobj__": Calls._instance,
    "copyreg.__newobj_ex__": Calls._instance,
    "_codecs.encode": Calls._bytes,
    "numpy.dtype": Calls._numpy_type,
    "numpy._core.multiarray.scalar": Calls._numpy_scalar,
    "numpy._core.multiarray._reconstruct": Calls._array,
    "numpy._core.numeric._frombuffer": Calls._array_from_buffer,
}
