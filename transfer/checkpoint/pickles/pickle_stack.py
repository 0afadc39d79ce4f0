"""The stack of the pickle machine: values, marks, memo and containers, every operation counted against the limits."""

from __future__ import annotations

from typing import Any

from transfer.checkpoint.files.refusal import Limits, damaged, over_limit
from transfer.checkpoint.pickles.calls import key_of
from transfer.checkpoint.pickles.pickle_names import Inert
from transfer.checkpoint.pickles.rebuild import PendingArray


class PickleStack:
    """What pickle's instructions for plain values and containers work on. All take an argument, used or not."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._spent = 0

    def _spend(self, count: int) -> None:
        self._spent += count
        if self._spent > self._limits.operations:
            rule = f"at most {self._limits.operations} pickle operations"
            raise over_limit(f"its pickle has more than {self._limits.operations} operations", rule)
        if len(self._stack) > self._limits.stack or len(self._memo) > self._limits.memo:
            raise over_limit("its pickle piles up too many values", f"at most {self._limits.stack} values on the stack")

    # Values

    def push(self, value: object) -> None:
        """Push a value that the instruction holds, or one just made."""
        if type(value) is int and value.bit_length() > self._limits.integer_bits:
            rule = f"integers of at most {self._limits.integer_bits} bits"
            raise over_limit(f"its pickle has an integer of {value.bit_length()} bits", rule)
        self._stack.append(value)

    def _pop(self) -> Any:
        if self._marks and self._marks[-1] == len(self._stack):
            raise damaged("its pickle takes a value that is not there")
        return self._stack.pop()

    def take(self, count: int) -> list[Any]:
        """Return the last `count` values, the deepest first."""
        return [self._pop() for _ in range(count)][::-1]

    def pop(self, _: object) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def duplicate(self, _: object) -> None:
        self._stack.append(self._stack[-1])

    def mark(self, _: object) -> None:
        self._marks.append(len(self._stack))
        self._spend(0)

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def drop_since_mark(self, _: object) -> None:
        self._since_mark()

    def get(self, slot: int) -> None:
        self._stack.append(self._memo[int(slot)])

    def put(self, slot: int) -> None:
        value = self._stack[-1]
        self._memo[int(slot)] = value
        if isinstance(value, PendingArray):
            value.memo_slots.append(int(slot))

    def memoize(self, _: object) -> None:
        self.put(len(self._memo))

    # Containers

    def make_tuple(self, _: object) -> None:
        self.push(tuple(self._since_mark()))

    def make_list(self, _: object) -> None:
        self.push(self._since_mark())

    def make_dict(self, _: object) -> None:
        items = self._since_mark()
        self.push({})
        self._set_items(items)

    def make_frozenset(self, _: object) -> None:
        self.push({key_of(item) for item in self._since_mark()})

    def append(self, _: object) -> None:
        self._extend([self._pop()])

    def appends(self, _: object) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Inert):
            target.elements.extend(items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise damaged("its pickle appends to something that is not a list")

    def set_item(self, _: object) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def set_items(self, _: object) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        entries = target.entries if isinstance(target, Inert) else target
        if type(entries) is not dict or len(items) % 2:
            raise damaged("its pickle sets an item of something that is not a mapping")
        for key, value in zip(items[::2], items[1::2], strict=True):
            entries[key_of(key)] = value

    def add_items(self, _: object) -> None:
        items = self._since_mark()
        target = self._stack[-1]
        if type(target) is not set:
            raise damaged("its pickle adds to something that is not a set")
        target.update(key_of(item) for item in items)
