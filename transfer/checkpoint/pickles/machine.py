"""Python's own unpickler with every instruction that could run code, waste memory or waste time put under a rule.

torch's restricted unpickler would not do (measured on torch 2.15). It knows the second protocol alone, and no modules
of files before torch 1.6. Nothing can be taken off its own list, so that a file may have it make `torch.FloatTensor(N)`
and `bytearray(N)` of any N; it hashes a key of doubled tuples for ever, and reads past the end of a storage. All that
would have to be worked out before it is called, and to work it out is to read the file.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from functools import partial
from typing import IO, Any, NoReturn

import torch

from transfer.checkpoint.pickles.budget import Budget, is_count
from transfer.checkpoint.pickles.calls import call, require_key, set_of
from transfer.checkpoint.pickles.pickle_names import DTYPES, Name, judge, storage_dtype
from transfer.checkpoint.pickles.stand_ins import Array, Inert, NumpyType, Storage, TensorView
from transfer.checkpoint.refusal import Refusal, damaged, over_limit, senseless, truncated, unsafe, unsupported

CheckStorage = Callable[[str, torch.dtype, int], None]
"""Raises Refusal unless the file has a storage of that key with so many elements."""


def no_storage(key: str, dtype: torch.dtype, count: int) -> None:
    """Refuse every storage: a bare pickle holds none."""
    raise damaged(f"storage {key!r} ({count} x {dtype}) is asked for, but a bare pickle holds none")


def unpickled(stream: IO[bytes], budget: Budget, check_storage: CheckStorage = no_storage) -> Any:
    """Return the value of the pickle at the stream's position, with views for tensors. Raises Refusal."""
    machine = _Machine(_Whole(stream), budget, check_storage)
    try:
        value = machine.load()
    except Refusal:
        raise
    except EOFError:
        raise truncated("in the middle of its pickle") from None
    except Exception as error:  # what a file makes an unpickler stumble over has no other common class
        raise senseless(error) from None
    if machine.stack or machine.metastack:
        raise damaged(f"its pickle ends with {len(machine.stack) + 1} values")
    return value


class _Whole:
    """A stream that gives as much as it is asked for, or raises EOFError."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, count: int) -> bytes:
        if len(data := self._stream.read(count)) < count:
            raise EOFError
        return data

    def readline(self) -> bytes:
        if not (line := self._stream.readline()).endswith(b"\n"):
            raise EOFError
        return line


class _Memo(dict[int, object]):
    """What the file wants to refer to again, by slots whose numbers it chooses."""

    limit = 0

    def __setitem__(self, slot: int, value: object) -> None:
        if slot >= self.limit:
            raise over_limit("its pickle piles up too many values", f"at most {self.limit} values in its memo")
        super().__setitem__(slot, value)


class _Machine(pickle._Unpickler):
    """Overrides the `load_NAME` of every instruction that is dangerous; each instruction counts as an operation."""

    stack: list[Any]
    metastack: list[list[Any]]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: _Whole, budget: Budget, check_storage: CheckStorage) -> None:
        super().__init__(stream, encoding="latin1")
        self._budget, self._check_storage = budget, check_storage
        self.memo = _Memo()
        self.memo.limit = budget.limits.memo

    def step(self, load: Callable[[_Machine], None]) -> None:
        self._budget.spend(1)
        if max(len(self.stack), len(self.metastack)) > (most := self._budget.limits.stack):
            raise over_limit("its pickle piles up too many values", f"at most {most} values on the stack")
        load(self)

    # What calls or loads

    def find_class(self, module: str, name: str) -> Any:
        known = judge(module, name)
        return DTYPES.get(str(known), known)

    def load_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise damaged("its pickle names a class by something that is not text")
        self.append(self.find_class(module, name))

    def load_reduce(self) -> None:
        args, callee = self.stack.pop(), self.stack.pop()
        self.append(call(self._budget, callee, args))

    def load_newobj(self) -> None:
        args, callee = self.stack.pop(), self.stack.pop()
        self.append(call(self._budget, callee, args, as_class=True))

    def load_newobj_ex(self) -> None:
        keywords = self.stack.pop()
        self.load_newobj()
        if isinstance(made := self.stack[-1], Inert):
            made.state = keywords

    def _instantiate(self, callee: object, args: list[object]) -> None:
        self.append(call(self._budget, callee, tuple(args)))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert | NumpyType | Array | TensorView):
            target.build(state, self._budget)
        elif not isinstance(target, dict):
            raise damaged("its pickle sets the attributes of something that has none")

    def get_extension(self, code: int) -> NoReturn:
        raise unsafe(f"use entry {code} of Python's extension registry")

    def persistent_load(self, claim: Any) -> Name | Storage:
        """Resolve ("storage", type, key, device, count[, view]), and ("module", class, file, source) of older torch."""
        if not isinstance(claim, tuple) or len(claim) < 2:
            raise damaged("a persistent id that is not a tuple")
        if claim[0] == "module" and len(claim) == 4 and isinstance(claim[1], Name):
            return claim[1]  # the source is text that nobody reads
        if claim[0] != "storage" or len(claim) not in (5, 6):
            raise damaged("a persistent id of an unknown kind")
        kind, key, _, count = claim[1:5]
        if type(key) is not str or len(key) > 100 or not is_count(count):
            raise damaged("a storage without a key or a size")
        self._check_storage(key, dtype := storage_dtype(kind), count)
        if len(claim) == 5 or (view := claim[5]) is None:
            return Storage(key, dtype, count)
        if not isinstance(view, tuple) or len(view) != 3 or not all(map(is_count, view[1:])) or sum(view[1:]) > count:
            raise damaged(f"a view that is no part of its storage of {count} elements")
        return Storage(key, dtype, view[2], start=view[1])

    # What hashes or fills

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        entries = self._held(dict, "its pickle sets an item of something that is not a mapping")
        for key, value in zip(items[::2], items[1::2], strict=True):
            require_key(self._budget, key)
            entries[key] = value

    def load_append(self) -> None:
        item = self.stack.pop()
        self._held(list, "its pickle appends to something that is not a list").append(item)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._held(list, "its pickle appends to something that is not a list").extend(items)

    def _held(self, kind: type, otherwise: str) -> Any:
        """Return the dict or list on top of the stack, or the one that an object of an unknown class holds."""
        target = self.stack[-1]
        if isinstance(target, Inert):
            if target.held is None:
                target.held = kind()
            target = target.held
        if not isinstance(target, kind):
            raise damaged(otherwise)
        return target

    def load_additems(self) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if not isinstance(target, set):
            raise damaged("its pickle adds to something that is not a set")
        target.update(set_of(self._budget, items))

    def load_frozenset(self) -> None:
        self.append(frozenset(set_of(self._budget, self.pop_mark())))

    # What asks for memory

    def load_frame(self) -> None:
        self.read(8)  # how much to read at once, which is not needed

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(*struct.unpack("<Q", self.read(8)))))

    def load_next_buffer(self) -> NoReturn:
        raise unsupported("its pickle keeps its data outside of the file", "save it with torch.save")

    load_readonly_buffer = load_next_buffer


_Machine.dispatch = {
    code: partial(_Machine.step, load=getattr(_Machine, base.__name__))
    for code, base in pickle._Unpickler.dispatch.items()
}
