"""Numbers out of metrics.jsonl, whatever state a killed run or a copy left it in."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

TAIL_BYTES = 32_768


def read_values(path: Path, name: str) -> dict[float, float]:
    """Return a logged value by epoch. A resumed run logs some epochs again: the later line counts."""
    found: dict[float, float] = {}
    for line in _objects(_text(path).splitlines()):
        epoch, value = line.get("epoch"), line.get(name)
        if _finite(epoch) and _finite(value):
            found[float(epoch)] = float(value)
    return found


def last_values(path: Path, names: set[str]) -> dict[str, float]:
    """Return those of `names` that the last line with any of them holds; only the end of the file is read."""
    for line in _objects(reversed(_text(path, TAIL_BYTES).splitlines())):
        found = {name: line[name] for name in names & line.keys()}
        numbers = {name: float(value) for name, value in found.items() if _finite(value)}
        if numbers:
            return numbers
    return {}


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _objects(texts: Iterator[str] | list[str]) -> Iterator[dict[str, object]]:
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:  # the last line of a killed process may be half a line
            continue
        if isinstance(line, dict):
            yield line


def _text(path: Path, last_bytes: int | None = None) -> str:
    try:
        with path.open("rb") as file:
            if last_bytes is not None:
                file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
