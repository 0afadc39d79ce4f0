"""A pickle machine that runs no code: Python's own decoder of pickle instructions, our own meaning for each.

`pickle.Unpickler` calls whatever a file names, and even a guarded one writes attributes and hashes keys as the file
asks. Here the instructions are decoded by `pickletools.genops`, which executes nothing, and carried out on a stack of
plain values. Names stay names, unknown classes become `Inert`, and every operation is counted against `Limits`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any

from torch import Tensor

from transfer.checkpoint.files.refusal import Limits, damaged, over_limit, truncated, unsafe, unsupported
from transfer.checkpoint.pickles.calls import Calls, storage_dtype
from transfer.checkpoint.pickles.nesting import nesting
from transfer.checkpoint.pickles.pickle_names import Inert, Name, judge
from transfer.checkpoint.pickles.pickle_stack import PickleStack
from transfer.checkpoint.pickles.rebuild import (
    DTYPES,
    LoadStorage,
    NumpyType,
    PendingArray,
    Rebuilder,
    is_count,
    no_storage,
)


class Unpickler(PickleStack):
    """Reads one pickle from a stream. `inert` collects the names of classes that were not loaded."""

    def __init__(
        self, stream: IO[bytes], limits: Limits, rebuilder: Rebuilder, storages: LoadStorage = no_storage
    ) -> None:
        super().__init__(limits)
        self._stream = stream
        self._storages = storages
        self._rebuilder = rebuilder
        self._calls = Calls(rebuilder, self._spend)
        self.inert: set[str] = set()

    def load(self) -> object:
        """Return the value of the pickle at the stream's position. Raises Refusal; nothing is ever run."""
        try:
            for opcode, argument, _ in pickletools.genops(self._stream):
                if opcode.name == "STOP":
                    break
                self._spend(1)
                _MEANINGS[opcode.name](self, argument)
        except _BROKEN as error:
            if not self._stream.read(1):
                raise truncated("in the middle of its pickle") from None
            words = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise damaged(f"its pickle makes no sense ({words})") from None
        if len(self._stack) != 1:
            raise damaged(f"its pickle ends with {len(self._stack)} values")
        result = self._stack[0]
        if nesting(result, self._limits.nesting) > self._limits.nesting:
            rule = f"at most {self._limits.nesting} containers within each other"
            raise over_limit("its data is nested without end", rule)
        return result

    # Names and objects

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_name(module, name)

    def name_from_stack(self, _: object) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise damaged("its pickle names a class by something that is not text")
        self._push_name(module, name)

    def _push_name(self, module: str, name: str) -> None:
        self._stack.append(self._known(judge(module, name)))

    def _known(self, name: Name) -> object:
        return DTYPES.get(str(name), name)

    def reduce(self, _: object) -> None:
        args, callee = self._pop(), self._pop()
        self._push_object(self._calls.call(callee, args))

    def new_object(self, _: object) -> None:
        args, callee = self._pop(), self._pop()
        self._push_object(self._calls.call(callee, args, as_class=True))

    def new_object_with_keywords(self, _: object) -> None:
        keywords, args, callee = self._pop(), self._pop(), self._pop()
        made = self._calls.call(callee, args, as_class=True)
        if isinstance(made, Inert):
            made.state = keywords
        self._push_object(made)

    def instance(self, argument: str) -> None:
        args = self._since_mark()
        self.name(argument)
        self._push_object(self._calls.call(self._pop(), tuple(args)))

    def instance_from_stack(self, _: object) -> None:
        callee, *args = self._since_mark()
        self._push_object(self._calls.call(callee, tuple(args)))

    def _push_object(self, made: object) -> None:
        if isinstance(made, Inert):
            self.inert.add(made.name)
        self.push(made)

    def build(self, _: object) -> None:
        """Give an object its state: noted in stubs, the bytes of arrays, ignored on mappings; nothing else has any."""
        state, target = self._pop(), self._stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif isinstance(target, NumpyType):
            target.build(state)
        elif isinstance(target, PendingArray):
            self._stack[-1] = array = self._array(state)
            while target.memo_slots:  # each once, or repeated BUILDs of one array would take quadratic time
                self._memo[target.memo_slots.pop()] = array
        elif type(target) is not dict:
            raise damaged("its pickle sets the attributes of something that has none")

    def _array(self, state: object) -> Tensor | Inert:
        """Return the array of NumPy's state `(version, shape, dtype, is_fortran, bytes)`."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise damaged("a NumPy array without its state")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, NumpyType):  # text, objects, records: nothing a network is made of
            return Inert("numpy.ndarray", state)
        return self._rebuilder.array(data, dtype, shape, fortran is True)

    # Tensors' storages

    def persistent(self, _: object) -> None:
        self._stack.append(self._persistent(self._pop()))

    def persistent_text(self, argument: str) -> None:
        self._stack.append(self._persistent(argument))

    def _persistent(self, claim: object) -> object:
        """Resolve ("storage", type, key, device, count[, view]); ("module", class, ...) is the class's name."""
        if not isinstance(claim, tuple) or len(claim) < 2:
            raise damaged("a persistent id that is not a tuple")
        if claim[0] == "module" and isinstance(claim[1], Name):
            return claim[1]
        if claim[0] != "storage" or len(claim) not in (5, 6):
            raise damaged("a persistent id of an unknown kind")
        kind, key, _, count = claim[1:5]
        if type(key) is not str or not is_count(count):
            raise damaged("a storage without a key or a size")
        storage = self._storages(key, storage_dtype(kind), count)
        view = claim[5] if len(claim) == 6 else None
        if view is None:
            return storage
        if not isinstance(view, tuple) or len(view) != 3 or not is_count(view[1]) or not is_count(view[2]):
            raise damaged("a view of a storage without an offset and a size")
        return storage.view(view[1], view[2])

    def refuse_extension(self, argument: object) -> None:
        raise unsafe(f"use entry {argument} of Python's extension registry")

    def refuse_buffer(self, _: object) -> None:
        raise unsupported("its pickle keeps its data outside of the file", "save it with torch.save")

    def ignore(self, _: object) -> None:
        pass


_BROKEN = (ValueError, IndexError, KeyError, OverflowError, EOFError, RuntimeError, MemoryError, TypeError)


_Meaning = Callable[[Unpickler, Any], None]


def _make(value: Callable[[], object]) -> _Meaning:
    return lambda machine, _: machine.push(value())


def _make_tuple_of(count: int) -> _Meaning:
    return lambda machine, _: machine.push(tuple(machine.take(count)))


_HELD = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"
)
_MEANINGS: dict[str, _Meaning] = {
    **dict.fromkeys(_HELD.split(), Unpickler.push),
    **dict.fromkeys(("PROTO", "FRAME"), Unpickler.ignore),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Unpickler.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Unpickler.put),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Unpickler.refuse_extension),
    **dict.fromkeys(("NEXT_BUFFER", "READONLY_BUFFER"), Unpickler.refuse_buffer),
    "NONE": _make(lambda: None),
    "NEWTRUE": _make(lambda: True),
    "NEWFALSE": _make(lambda: False),
    "EMPTY_LIST": _make(list),
    "EMPTY_DICT": _make(dict),
    "EMPTY_SET": _make(set),
    "EMPTY_TUPLE": _make(tuple),
    "TUPLE1": _make_tuple_of(1),
    "TUPLE2": _make_tuple_of(2),
    "TUPLE3": _make_tuple_of(3),
    "TUPLE": Unpickler.make_tuple,
    "LIST": Unpickler.make_list,
    "DICT": Unpickler.make_dict,
    "FROZENSET": Unpickler.make_frozenset,
    "APPEND": Unpickler.append,
    "APPENDS": Unpickler.appends,
    "SETITEM": Unpickler.set_item,
    "SETITEMS": Unpickler.set_items,
    "ADDITEMS": Unpickler.add_items,
    "MARK": Unpickler.mark,
    "POP": Unpickler.pop,
    "POP_MARK": Unpickler.drop_since_mark,
    "DUP": Unpickler.duplicate,
    "MEMOIZE": Unpickler.memoize,
    "GLOBAL": Unpickler.name,
    "STACK_GLOBAL": Unpickler.name_from_stack,
    "REDUCE": Unpickler.reduce,
    "NEWOBJ": Unpickler.new_object,
    "NEWOBJ_EX": Unpickler.new_object_with_keywords,
    "INST": Unpickler.instance,
    "OBJ": Unpickler.instance_from_stack,
    "BUILD": Unpickler.build,
    "PERSID": Unpickler.persistent_text,
    "BINPERSID": Unpickler.persistent,
}
