"""What each call that a pickle asks for gives: a few functions of ours rebuild data, all others are refused.

A class of another package gives a stub of its name. No function and no class of a file is ever looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from transfer.checkpoint.pickles.budget import Budget, elements_of, is_count
from transfer.checkpoint.pickles.pickle_names import Name, judge, may_stand_inert, quantized, require_plain
from transfer.checkpoint.pickles.stand_ins import Array, Inert, NumpyType, Storage, TensorView
from transfer.checkpoint.refusal import damaged, unsafe, unsupported

_LATIN = ("latin1", "latin-1", "iso-8859-1")


def call(budget: Budget, callee: object, args: object, as_class: bool = False) -> object:
    """Return what `callee(*args)` stands for; `as_class` where the pickle itself says that it is a class."""
    if not isinstance(args, tuple):
        raise damaged("a call whose arguments are not a tuple")
    if not isinstance(callee, Name):
        raise damaged("a call of something that is neither a class nor a function")
    if (answer := _ANSWERS.get(str(callee))) is not None:
        return answer(budget, *args)
    require_plain(callee)
    if not as_class and not may_stand_inert(callee):
        raise unsafe(f"call {callee}")
    return Inert(str(callee), args)


def require_key(budget: Budget, value: Any, depth: int = 0) -> None:
    """Raise Refusal for a mapping's key that costs more than a glance to hash or to tell from others.

    Tuples are hashed anew at each use, and those of numbers can be chosen so that all of them collide: each counts as
    many operations. Integers from 2^61 on collide as well.
    """
    if isinstance(value, tuple) and len(value) <= 64 and depth < 3:
        budget.spend(300)
        for item in value:
            require_key(budget, item, depth + 1)
    elif isinstance(value, int) and value.bit_length() > 60:
        raise damaged("a mapping's key of more than 60 bits")
    elif value is not None and not isinstance(value, str | int | float | bytes | Name | torch.dtype | Inert):
        raise damaged("a mapping's key of a kind that has no hash, or too large a one")


def _items(budget: Budget, items: object = (), *more: object) -> list[Any]:
    """Return what a container will be made of. Each item that is copied counts as an operation."""
    if more or not isinstance(items, list | tuple):
        raise damaged("a container made of something else than a list")
    budget.spend(len(items))
    return list(items)


def _tuple(budget: Budget, *args: object) -> tuple[Any, ...]:
    return tuple(_items(budget, *args))


def _mapping(budget: Budget, *args: object) -> dict[Any, Any]:
    if args and isinstance(args[0], dict):
        budget.spend(len(args[0]))
        return dict(args[0])
    pairs = _items(budget, *args)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise damaged("a mapping made of something else than pairs")
        require_key(budget, pair[0])
    return dict(pairs)


def set_of(budget: Budget, *args: object) -> set[Any]:
    for item in (items := _items(budget, *args)):
        require_key(budget, item)
    return set(items)


def _bytes(budget: Budget, value: object = b"", *encoding: object) -> bytes | bytearray:
    """Bytes are written as bytes(), bytearray(b), bytearray(text, 'latin-1') and _codecs.encode(text, 'latin1')."""
    if not isinstance(value, str | bytes) or len(encoding) > 1 or (encoding and encoding[0] not in _LATIN):
        raise damaged("bytes made of something else than text")
    budget.admit(0, len(value))
    return value.encode("latin1") if isinstance(value, str) else value


def _type(_: Budget, *args: object) -> Name:
    if args != (None,):
        raise unsafe("call builtins.type")
    return Name("builtins", "NoneType")  # how it is written


def _attribute(_: Budget, *args: object) -> Name:
    """A nested class or a method, which older protocols write as getattr(class, name), stays a name."""
    if len(args) != 2 or not isinstance(args[0], Name) or not isinstance(args[1], str):
        raise unsafe("call builtins.getattr")
    return judge(args[0].module, f"{args[0].name}.{args[1]}")


def _getitem(_: Budget, *args: object) -> Inert:
    if not args or not isinstance(args[0], Name) or args[0].module != "typing":  # how typing.Optional[int] is written
        raise unsafe("call operator.getitem")
    return Inert(str(args[0]), args[1:])


def _instance(budget: Budget, kind: object, base: object = None, state: object = None, *_: object) -> object:
    """An object is written as copyreg._reconstructor(cls, base, state) or copyreg.__newobj__(cls, *args).

    Below protocol 2 the state of the first is what a subclass of dict or list holds. Parameters of torch before 0.4
    are written in the second way where the protocol is below 2.
    """
    if isinstance(base, TensorView):
        return call(budget, kind, (base,), as_class=True)
    made = call(budget, kind, (), as_class=True)
    if isinstance(made, Inert) and isinstance(state, dict | list) and isinstance(base, Name):
        made.held = _mapping(budget, state) if isinstance(state, dict) else _items(budget, state)
    return made


def _array_of_bytes(budget: Budget, data: object, dtype: object, shape: object, order: object) -> Array:
    array = Array(())
    array.build((1, shape, dtype, order == "F", data), budget)
    return array


def _parameter(_: Budget, data: object = None, *__: object) -> TensorView:
    if not isinstance(data, TensorView):
        raise damaged("a parameter without a tensor")
    return data


def _subclass(budget: Budget, function: object, kind: object, args: object, *_: object) -> object:
    """A tensor with attributes is written as torch._tensor._rebuild_from_type_v2(function, type, args, state)."""
    if not isinstance(kind, Name) or not isinstance(function, Name):
        raise damaged("a tensor of a class, or made by a function, without a name")
    if kind.module.startswith("torch.distributed"):
        raise unsupported("it holds distributed tensors", "gather them first: save the full state dict")
    if function.module != "torch._utils" or str(function) not in _ANSWERS:
        raise unsafe(f"call {function}")
    return call(budget, function, args)


def _tensor(budget: Budget, storage: object, offset: Any, size: Any, stride: Any, *more: Any) -> TensorView:
    """Check that a view lies in its storage. `more`: requires_grad, hooks, a dtype in v3 alone, and its marks."""
    if not isinstance(storage, Storage):
        raise damaged("a tensor without a storage")
    dtype, start, count = storage.dtype, storage.start, storage.count
    if len(more) > 2 and isinstance(more[2], Name | torch.dtype):
        if not isinstance(more[2], torch.dtype) or dtype is not torch.uint8 or start:
            raise damaged("a tensor of another type than its storage")
        dtype, count = more[2], count // more[2].itemsize
        if str(dtype).startswith("torch.q"):
            raise quantized()
    size, stride = (tuple(part) if isinstance(part, tuple | list) else (None,) for part in (size, stride))
    if not all(map(is_count, (offset, *size, *stride))) or len(size) != len(stride) or len(size) > 64:
        raise damaged("a tensor with impossible sizes, strides or offset")
    budget.admit(1, (elements := elements_of(size)) * dtype.itemsize)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if elements and last >= count:
        raise damaged(f"a tensor reaches element {last} of a storage that has {count}: out of bounds")
    noted = more[-1] if more and isinstance(more[-1], dict) else {}
    marks = {mark: True for mark in ("conj", "neg") if noted.get(mark) is True}
    return TensorView(storage, dtype, start + offset, size, stride, marks)


_ANSWERS: dict[str, Callable[..., object]] = {
    **dict.fromkeys(("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"), _tensor),
    "torch._utils._rebuild_tensor_v3": _tensor,
    **dict.fromkeys(("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"), _parameter),
    "torch.nn.parameter.Parameter": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.Size": _tuple,
    "torch.device": lambda _, *parts: ":".join(str(part) for part in parts if isinstance(part, str | int)),
    **dict.fromkeys(("collections.OrderedDict", "collections.Counter", "builtins.dict"), _mapping),
    "collections.defaultdict": lambda *_: {},  # its factory is of no use to data
    "builtins.list": _items,
    "builtins.tuple": _tuple,
    "builtins.set": set_of,
    "builtins.frozenset": lambda budget, *args: frozenset(set_of(budget, *args)),
    **dict.fromkeys(("builtins.bytes", "builtins.bytearray", "_codecs.encode"), _bytes),
    "builtins.complex": lambda _, *parts: complex(*parts),
    "builtins.type": _type,
    "builtins.getattr": _attribute,
    "operator.getitem": _getitem,
    **dict.fromkeys(("copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__"), _instance),
    "numpy.dtype": lambda _, code, *__: NumpyType.of(code),
    "numpy._core.multiarray.scalar": lambda _, dtype, data=b"": NumpyType.scalar(dtype, data),
    "numpy._core.multiarray._reconstruct": lambda _, *args: Array(args),
    "numpy._core.numeric._frombuffer": _array_of_bytes,
}
