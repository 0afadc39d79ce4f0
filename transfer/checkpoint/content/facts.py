"""Plain facts that lie beside the weights (epoch, arguments, configuration), as small JSON without tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import JsonValue
from torch import Tensor

from transfer.checkpoint.pickles.stand_ins import Inert

_MAX_DEPTH = 8
_MAX_ITEMS = 5_000
_MAX_LETTERS = 20_000
_NOT_FACTS = ("optim", "sched", "scaler", "rng", "message_hub")
_NOTHING = object()


def facts_beside(content: object, where: tuple[str, ...]) -> dict[str, JsonValue]:
    """Return the facts at every level of `content` down to the weights at `where`; inner ones replace outer ones."""
    facts: dict[str, JsonValue] = {}
    reader = _Reader()
    level = content
    for step in (*where, None):
        for key, value in _entries(level).items():
            if isinstance(key, str) and key != step and not any(word in key.lower() for word in _NOT_FACTS):
                reader.note(facts, key.strip("_") or key, value)
        level = _entries(level).get(step)
    return facts


class _Reader:
    """Turns data into JSON, up to a number of items: shared parts of a crafted file could unfold without end."""

    def __init__(self) -> None:
        self._items = 0

    def note(self, facts: dict[str, JsonValue], key: str, value: object) -> None:
        """Put `value` into `facts` if it is a plain fact, as tensors and containers of nothing but tensors are not."""
        plain = self._plain(value, 0)
        if plain is not _NOTHING and plain != {} and plain != []:
            facts[key] = plain  # type: ignore[assignment]

    def _plain(self, value: object, depth: int) -> JsonValue | object:
        self._items += 1
        if depth > _MAX_DEPTH or self._items > _MAX_ITEMS:
            return _NOTHING
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, str):
            return value[:_MAX_LETTERS]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if value.bit_length() < 64 else str(value)
        if isinstance(value, Inert):
            return self._inert(value, depth)
        if isinstance(value, dict):
            return self._mapping(value, depth)
        if isinstance(value, list | tuple):
            return self._sequence(value, depth)
        return _NOTHING

    def _mapping(self, value: Mapping[object, object], depth: int) -> dict[str, JsonValue]:
        result: dict[str, JsonValue] = {}
        for key, inner in value.items():
            if self._items > _MAX_ITEMS:
                break
            if isinstance(key, str | int) and not isinstance(inner, Tensor):
                self._keep(result, str(key)[:200], self._plain(inner, depth + 1))
        return result

    @staticmethod
    def _keep(result: dict[str, JsonValue], key: str, plain: JsonValue | object) -> None:
        if plain is not _NOTHING:
            result[key] = plain  # type: ignore[assignment]

    def _sequence(self, value: list[object] | tuple[object, ...], depth: int) -> list[JsonValue]:
        items = (self._plain(inner, depth + 1) for inner in value[:1000])
        return [item for item in items if item is not _NOTHING]  # type: ignore[misc]

    def _inert(self, value: Inert, depth: int) -> JsonValue | object:
        """Return what a stub stands for: a path, an enum's value, or an object's attributes."""
        if "Path" in value.name:
            return "/".join(str(part) for part in value.args if isinstance(part, str)).replace("//", "/")
        if isinstance(value.state, dict):
            for inner in ("_content", "_val"):  # OmegaConf's containers and nodes
                if inner in value.state:
                    return self._plain(value.state[inner], depth)
            return self._mapping(value.state, depth)
        return self._plain(value.args[0], depth + 1) if len(value.args) == 1 else _NOTHING


def _entries(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}
