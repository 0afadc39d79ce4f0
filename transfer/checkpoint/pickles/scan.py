"""What carrying out a pickle would do, worked out before anything carries it out.

torch's restricted unpickler guards against code, not against waste: it makes a tensor or a bytearray of any size that a
file names, hashes keys that unfold without end, and reads past the end of a storage. Here `pickletools.genops` decodes
the instructions, which executes nothing, and their effect is followed on a stack of plain descriptions: which names are
called, how much is copied, what reaches beyond its storage. What passes may be read.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any

import torch

from transfer.checkpoint.pickles.calls import Calls
from transfer.checkpoint.pickles.described import Budget, Held, is_count, require_key
from transfer.checkpoint.pickles.pickle_names import DTYPES, storage_dtype
from transfer.checkpoint.refusal import damaged, over_limit, truncated, unsafe, unsupported

CheckStorage = Callable[[str, torch.dtype, int], None]
"""Raises Refusal unless the file has a storage of that key with so many elements."""
_TORCHS_INSTRUCTIONS = """
    PROTO STOP MARK NONE NEWFALSE NEWTRUE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS EMPTY_SET
    BINGET LONG_BINGET BINPUT LONG_BINPUT GLOBAL NEWOBJ REDUCE BUILD BINPERSID
"""
_KNOWN_TO_TORCH = frozenset(_TORCHS_INSTRUCTIONS.split())
_BROKEN = (ValueError, IndexError, KeyError, OverflowError, EOFError, MemoryError, TypeError, AttributeError)


def no_storage(key: str, dtype: torch.dtype, count: int) -> None:
    """Refuse every storage: a bare pickle holds none."""
    raise damaged(f"storage {key!r} ({count} x {dtype}) is asked for, but a bare pickle holds none")


class Scan:
    """Follows one pickle. Afterwards `calls` and `mappings` tell what its names are used for."""

    def __init__(self, budget: Budget, check_storage: CheckStorage = no_storage) -> None:
        self._budget, self._check_storage = budget, check_storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self.calls = Calls(budget)
        self.known_to_torch = True
        """Whether torch's unpickler has all the instructions: those that torch.save itself writes, of protocol 2."""
        self.mappings: set[str] = set()
        """Names of classes whose objects have entries, as subclasses of dict do."""
        self.sequences: set[str] = set()
        """Names of classes whose objects have elements, as subclasses of list do."""

    def follow(self, stream: IO[bytes]) -> Any:
        """Follow the pickle at the stream's position to its end and describe its value. Raises Refusal."""
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "STOP":
                    break
                self._budget.spend(1)
                self._step(opcode, argument)
        except _BROKEN as error:
            if not stream.read(1):
                raise truncated("in the middle of its pickle") from None
            words = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise damaged(f"its pickle makes no sense ({words})") from None
        if len(self._stack) != 1 or self._marks:
            raise damaged(f"its pickle ends with {len(self._stack)} values")
        return self._stack[0]

    def _step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        self.known_to_torch &= name in _KNOWN_TO_TORCH
        if name == "MARK":
            self._marks.append(len(self._stack))
        elif name == "POP" and self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        elif name.endswith("GET"):
            self._stack.append(self._memo[int(argument)])
        elif name.endswith("PUT") or name == "MEMOIZE":
            self._remember(len(self._memo) if name == "MEMOIZE" else int(argument))
        else:
            taken = self._take(opcode)
            for _ in opcode.stack_after[:1]:
                made = _EFFECTS[name](self, argument, taken) if name in _EFFECTS else self._constant(argument)
                self._stack += [made] * len(opcode.stack_after)
        limits = self._budget.limits
        if len(self._stack) > limits.stack or len(self._marks) > limits.stack:
            raise over_limit("its pickle piles up too many values", f"at most {limits.stack} values on the stack")

    def _remember(self, slot: int) -> None:
        if slot >= self._budget.limits.memo:  # Python's unpickler makes room for all slots before it
            rule = f"at most {self._budget.limits.memo} values in its memo"
            raise over_limit("its pickle piles up too many values", rule)
        self._memo[slot] = self._stack[-1]

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[Any]:
        """Pop what an instruction works on, the deepest first; `stackslice` is all that follows the last mark."""
        before, many = opcode.stack_before, []
        count = len(before)
        if pickletools.markobject in before:
            start = self._marks.pop()
            many, count = self._stack[start:], before.index(pickletools.markobject)
            del self._stack[start:]
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise ValueError("it takes a value that is not there")
        taken = self._stack[start:] + many
        del self._stack[start:]
        return taken

    def _constant(self, value: Any) -> Any:
        limit = self._budget.limits.integer_bits
        if type(value) is int and value.bit_length() > limit:
            rule = f"integers of at most {limit} bits"
            raise over_limit(f"its pickle has an integer of {value.bit_length()} bits", rule)
        return value

    def _append(self, _: Any, taken: list[Any]) -> Held:
        target, *items = taken
        if not isinstance(target, Held) or target.kind not in ("list", "object"):
            raise damaged("its pickle appends to something that is not a list")
        if target.kind == "list":
            target.items.extend(items)
        else:
            self.sequences.add(target.name)
        return self._budget.deepen(target, items)

    def _set_items(self, _: Any, taken: list[Any]) -> Held:
        target, *items = taken
        if not isinstance(target, Held) or target.kind not in ("dict", "object") or len(items) % 2:
            raise damaged("its pickle sets an item of something that is not a mapping")
        if target.kind == "object":
            self.mappings.add(target.name)
        else:
            target.items.extend(items[::2])
        for key in items[::2]:
            require_key(key)
        return self._budget.deepen(target, items)

    def _new_dict(self, _: Any, taken: list[Any]) -> Held:
        return self._set_items(None, [Held("dict", []), *taken])

    def _add_items(self, _: Any, taken: list[Any]) -> Held:
        target, *items = taken
        if not isinstance(target, Held) or target.kind != "set":
            raise damaged("its pickle adds to something that is not a set")
        for item in items:
            require_key(item)
        return target

    def _new_set(self, _: Any, taken: list[Any]) -> Held:
        return self._add_items(None, [Held("set", []), *taken])

    def _new_list(self, _: Any, taken: list[Any]) -> Held:
        return self._budget.hold("list", taken)

    def _new_tuple(self, _: Any, taken: list[Any]) -> Held:
        return self._budget.hold("tuple", taken)

    def _name(self, argument: Any, _: list[Any]) -> Any:
        module, _, name = argument.partition(" ")
        return self._known(module, name)

    def _name_from_stack(self, _: Any, taken: list[Any]) -> Any:
        module, name = taken
        if type(name) is not str or type(module) is not str:
            raise damaged("its pickle names a class by something that is not text")
        return self._known(module, name)

    def _known(self, module: str, name: str) -> Any:
        known = self.calls.mention(module, name)
        return DTYPES.get(str(known), known)

    def _reduce(self, _: Any, taken: list[Any]) -> Any:
        return self.calls.call(taken[0], taken[1])

    def _new_object(self, _: Any, taken: list[Any]) -> Any:
        made = self.calls.call(taken[0], taken[1], as_class=True)
        return self._budget.deepen(made, taken[2:]) if isinstance(made, Held) else made

    def _instance(self, argument: Any, taken: list[Any]) -> Any:
        return self.calls.call(self._name(argument, []), self._new_tuple(None, taken))

    def _instance_from_stack(self, _: Any, taken: list[Any]) -> Any:
        callee, *args = taken
        return self.calls.call(callee, self._new_tuple(None, args))

    def _build(self, _: Any, taken: list[Any]) -> Held:
        target, state = taken
        if not isinstance(target, Held) or target.kind not in ("object", "array", "dict"):
            raise damaged("its pickle sets the attributes of something that has none")
        if target.kind == "array" and isinstance(state, Held):
            self._budget.admit(0, sum(len(item) for item in state.items if isinstance(item, str | bytes)))
        return self._budget.deepen(target, [state])

    def _persistent(self, _: Any, taken: list[Any]) -> Held:
        """Check the claim of a storage: ("storage", type, key, device, count[, view])."""
        claim = taken[0].items if taken and isinstance(taken[0], Held) and taken[0].kind == "tuple" else []
        if len(claim) < 2:
            raise damaged("a persistent id that is not a tuple")
        if claim[0] != "storage" or len(claim) not in (5, 6):
            raise damaged("a persistent id of an unknown kind")
        kind, key, _, count = claim[1:5]
        if type(key) is not str or not is_count(count):
            raise damaged("a storage without a key or a size")
        dtype, view = storage_dtype(kind), claim[5] if len(claim) == 6 else None
        self._check_storage(key, dtype, count)
        if view is None:
            return Held("storage", [dtype, count])
        part = view.items if isinstance(view, Held) else []
        if len(part) != 3 or not is_count(part[1]) or not is_count(part[2]) or part[1] + part[2] > count:
            raise damaged(f"a view that is no part of its storage of {count} elements")
        return Held("storage", [dtype, part[2]])

    def _refuse_extension(self, argument: Any, _: list[Any]) -> Any:
        raise unsafe(f"use entry {argument} of Python's extension registry")

    def _refuse_buffer(self, _: Any, __: list[Any]) -> Any:
        raise unsupported("its pickle keeps its data outside of the file", "save it with torch.save")


_EFFECTS: dict[str, Callable[[Scan, Any, list[Any]], Any]] = {
    **dict.fromkeys(("EMPTY_LIST", "LIST"), Scan._new_list),
    **dict.fromkeys(("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), Scan._new_tuple),
    **dict.fromkeys(("EMPTY_DICT", "DICT"), Scan._new_dict),
    **dict.fromkeys(("EMPTY_SET", "FROZENSET"), Scan._new_set),
    **dict.fromkeys(("APPEND", "APPENDS"), Scan._append),
    **dict.fromkeys(("SETITEM", "SETITEMS"), Scan._set_items),
    "ADDITEMS": Scan._add_items,
    "DUP": lambda _, __, taken: taken[0],
    "GLOBAL": Scan._name,
    "STACK_GLOBAL": Scan._name_from_stack,
    "REDUCE": Scan._reduce,
    **dict.fromkeys(("NEWOBJ", "NEWOBJ_EX"), Scan._new_object),
    "INST": Scan._instance,
    "OBJ": Scan._instance_from_stack,
    "BUILD": Scan._build,
    **dict.fromkeys(("PERSID", "BINPERSID"), Scan._persistent),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Scan._refuse_extension),
    **dict.fromkeys(("NEXT_BUFFER", "READONLY_BUFFER"), Scan._refuse_buffer),
}
