"""What each call that a pickle asks for would give; every function but the few that rebuild data is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from transfer.checkpoint.pickles.described import Budget, Held, elements_of, is_count, require_key
from transfer.checkpoint.pickles.pickle_names import Name, judge, may_stand_inert, require_plain
from transfer.checkpoint.refusal import damaged, unsafe, unsupported

Arguments = list[Any]
_LATIN = ("latin1", "latin-1", "iso-8859-1")


class Calls:
    """Judges the names and calls of one file."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.names: dict[str, Name] = {}
        """Every name that the file mentions, by its spelling there."""
        self.made: set[str] = set()
        """Names of the classes of which the file holds objects, for which stubs will stand."""
        self.tensors: set[str] = set()
        """Names of classes of tensors, which are made from plain ones."""

    def mention(self, module: str, name: str) -> Name:
        """Note a name. Raises Refusal for one of the standard library that is no data class."""
        judged = judge(module, name)
        self.names[f"{module}.{name}"] = self.names[str(judged)] = judged
        return judged

    def call(self, callee: Any, args: Any, as_class: bool = False) -> Any:
        """Describe what `callee(*args)` gives; `as_class` where the pickle itself says that it is a class.

        Raises Refusal for functions outside the table: nothing of another package is ever called.
        """
        if not isinstance(args, Held) or args.kind != "tuple":
            raise damaged("a call whose arguments are not a tuple")
        if not isinstance(callee, Name):
            raise damaged("a call of something that is neither a class nor a function")
        if (answer := _ANSWERS.get(str(callee))) is not None:
            return answer(self, args.items)
        require_plain(callee)
        if not as_class and not may_stand_inert(callee):
            raise unsafe(f"call {callee}")
        return self._object(callee, args.items)

    def _object(self, callee: Name, args: Arguments) -> Held:
        self.made.add(str(callee))
        return self._budget.hold("object", args, str(callee))

    def _mapping(self, args: Arguments) -> Held:
        pairs = self._copied(args)
        if args and args[0].kind == "dict":
            return self._budget.deepen(Held("dict", pairs), args)
        for pair in pairs:
            if not isinstance(pair, Held) or pair.kind not in ("tuple", "list") or len(pair.items) != 2:
                raise damaged("a mapping made of something else than pairs")
            require_key(pair.items[0])
        return self._budget.hold("dict", pairs)

    def _empty_mapping(self, _: Arguments) -> Held:  # a defaultdict's factory is of no use to data
        return Held("dict", [])

    def _list(self, args: Arguments) -> Held:
        return self._budget.hold("list", self._copied(args))

    def _tuple(self, args: Arguments) -> Held:
        return self._budget.hold("tuple", self._copied(args))

    def _set(self, args: Arguments) -> Held:
        for item in self._copied(args):
            require_key(item)
        return Held("set", [])

    def _copied(self, args: Arguments) -> list[Any]:
        """Return what a container will be made of. Each item that is copied counts as an operation."""
        if not args:
            return []
        if len(args) > 1 or not isinstance(args[0], Held) or args[0].kind not in ("list", "tuple", "dict"):
            raise damaged("a container made of something else than a list")
        self._budget.spend(len(args[0].items))
        return list(args[0].items)

    def _size(self, args: Arguments) -> Held:
        size = self._tuple(args)
        if not all(map(is_count, size.items)):
            raise damaged("a torch.Size of something else than sizes")
        return size

    def _bytes(self, args: Arguments) -> bytes:
        """Bytes are written as bytes(), bytearray(b), bytearray(text, 'latin-1') and _codecs.encode(text, 'latin1')."""
        value, *encoding = args or [b""]
        if not isinstance(value, str | bytes) or len(encoding) > 1 or (encoding and encoding[0] not in _LATIN):
            raise damaged("bytes made of something else than text")
        self._budget.spend(len(value) // 16)
        return value.encode("latin1") if isinstance(value, str) else value

    def _number(self, args: Arguments) -> Held:
        return self._budget.hold("number", args)

    def _complex(self, args: Arguments) -> Held:
        if len(args) != 2 or not all(isinstance(part, int | float) for part in args):
            raise damaged("a complex number of something else than two numbers")
        return Held("number", args)

    def _type(self, args: Arguments) -> Name:
        if args == [None]:  # how NoneType is written
            return Name("builtins", "NoneType")
        raise unsafe("call builtins.type")

    def _attribute(self, args: Arguments) -> Name:
        """A nested class or a method, which older protocols write as getattr(class, name), stays a name."""
        if len(args) == 2 and isinstance(args[0], Name) and isinstance(args[1], str):
            return self.mention(args[0].module, f"{args[0].name}.{args[1]}")
        raise unsafe("call builtins.getattr")

    def _getitem(self, args: Arguments) -> Held:
        if args and isinstance(args[0], Name) and args[0].module == "typing":  # how typing.Optional[int] is written
            return self._object(args[0], args[1:])
        raise unsafe("call operator.getitem")

    def _instance(self, args: Arguments) -> Any:
        """An object is written as copyreg._reconstructor(cls, base, state) or copyreg.__newobj__(cls, *args)."""
        if not args:
            raise damaged("an object without a class")
        return self.call(args[0], Held("tuple", []), as_class=True)

    def _array(self, args: Arguments) -> Held:
        return self._budget.hold("array", args)

    def _parameter(self, args: Arguments) -> Held:
        if not args or not isinstance(args[0], Held) or args[0].kind != "tensor":
            raise damaged("a parameter without a tensor")
        return args[0]

    def _subclass(self, args: Arguments) -> Any:
        """A tensor with attributes is written as torch._tensor._rebuild_from_type_v2(function, type, args, state)."""
        if len(args) < 3:
            raise damaged("a call with too few arguments")
        if str(args[1]).startswith("torch.distributed"):
            raise unsupported("it holds distributed tensors", "gather them first: save the full state dict")
        if not isinstance(args[0], Name) or args[0].module != "torch._utils" or args[0].name not in TENSOR_MAKERS:
            raise unsafe(f"call {args[0]}")
        self.tensors.add(str(args[1]))
        return self.call(args[0], args[2])

    def _tensor(self, args: Arguments) -> Held:
        """Check that a view lies in its storage: `(storage, offset, size, stride, ...)`, in v3 with a dtype."""
        if len(args) < 4:
            raise damaged("a call with too few arguments")
        storage, offset, size, stride = args[:4]
        if not isinstance(storage, Held) or storage.kind != "storage":
            raise damaged("a tensor without a storage")
        dtype, count = storage.items
        if len(args) > 6 and isinstance(args[6], Name):
            raise damaged("a tensor of another type than its storage")
        if len(args) > 6 and isinstance(args[6], torch.dtype):
            count, dtype = count * dtype.itemsize // args[6].itemsize, args[6]
        no_counts: Arguments = [None]
        sizes, strides = (part.items if isinstance(part, Held) else no_counts for part in (size, stride))
        if not all(map(is_count, (offset, *sizes, *strides))) or len(sizes) != len(strides) or len(sizes) > 64:
            raise damaged("a tensor with impossible sizes, strides or offset")
        elements = elements_of(sizes)
        self._budget.admit(1, elements * dtype.itemsize)
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if elements and last >= count:
            raise damaged(f"a tensor reaches element {last} of a storage that has {count}: out of bounds")
        return Held("tensor", [])


TENSOR_MAKERS: dict[str, Callable[[Calls, Arguments], Any]] = {
    "_rebuild_tensor": Calls._tensor,
    "_rebuild_tensor_v2": Calls._tensor,
    "_rebuild_tensor_v3": Calls._tensor,
    "_rebuild_parameter": Calls._parameter,
    "_rebuild_parameter_with_state": Calls._parameter,
}
"""The functions of torch._utils that make plain tensors."""
_ANSWERS: dict[str, Callable[[Calls, Arguments], Any]] = {
    **{f"torch._utils.{name}": judged for name, judged in TENSOR_MAKERS.items()},
    "torch._tensor._rebuild_from_type_v2": Calls._subclass,
    "torch.nn.parameter.Parameter": Calls._parameter,
    "torch.Size": Calls._size,
    "torch.device": Calls._number,
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
    "numpy.dtype": Calls._array,
    "numpy._core.multiarray.scalar": Calls._number,
    "numpy._core.multiarray._reconstruct": Calls._array,
    "numpy._core.numeric._frombuffer": Calls._array,
}
