"""metrics.jsonl, written and read: one JSON object a line, of a log step or of an evaluation.

A line of a log step has `step`, `epoch`, `total_steps`, `loss`, `lr`, `grad_norm`, `images_per_second` and
`eta_seconds`; a line of an evaluation has `step`, `epoch` and the metrics. A file may be read while it is written, or
after a kill or a copy damaged it: lines that are cut off or hold no JSON object are passed over.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.files.atomic import disk_error, write_atomically
from benchmarks.files.regular import regular

TAIL_BYTES = 32_768
"""Enough for the newest lines: they are a few hundred bytes each."""
FIRST_BYTES = 2_048
"""What is read of that at first: mostly, it has the answer."""
NUMBERS = (int, float)


@dataclass(frozen=True)
class Progress:
    """The newest line of a log step."""

    step: int
    total_steps: int
    loss: float | None
    eta_seconds: float | None


def read_progress(path: Path) -> Progress | None:
    """Return how far a training is, or None before its first log line; only the end of the file is read."""
    for line in _objects(_lines_from_end(path)):
        step, total = _finite(line.get("step")), _finite(line.get("total_steps"))
        if step is not None and total is not None:
            return Progress(int(step), int(total), _number(line.get("loss")), _finite(line.get("eta_seconds")))
    return None


def read_values(path: Path, name: str) -> dict[float, float]:
    """Return a logged value by epoch. A resumed run logs some epochs again: the later line counts."""
    found: dict[float, float] = {}
    for line in _objects(_text(path).splitlines()):
        epoch, value = _finite(line.get("epoch")), _finite(line.get(name))
        if epoch is not None and value is not None:
            found[epoch] = value
    return found


def read_evaluations(path: Path, name: str) -> Iterator[tuple[int, float, float]]:
    """Yield step, epoch and value of every evaluation that has a metric, as they were logged; it may be NaN.

    Other lines, which are nearly all, are not parsed.
    """
    with contextlib.suppress(OSError), regular(path).open(encoding="utf-8", errors="replace") as file:
        for line in _objects(text for text in file if f'"{name}"' in text):
            step, epoch, value = _finite(line.get("step")), _finite(line.get("epoch")), _number(line.get(name))
            if step is not None and epoch is not None and value is not None:
                yield int(step), epoch, value


class LastLines(NamedTuple):
    """What the end of a log says; None for what it does not say."""

    step: int | None
    epoch: float | None
    total_steps: int | None
    values: dict[str, float]
    """Those of the names asked for that the last line with any of them holds."""


def last_lines(log: bytes, names: set[str]) -> LastLines:
    """Return the newest step, epoch, planned steps and values of `names`; only the last TAIL_BYTES are looked at."""
    found: dict[str, float] = {}
    values: dict[str, float] = {}
    tail = log[-TAIL_BYTES:].split(b"\n")
    for line in _objects(line.decode(errors="replace") for line in reversed(tail)):
        for name in ("step", "epoch", "total_steps"):
            if name not in found and (number := _finite(line.get(name))) is not None:
                found[name] = number
        values = values or {name: number for name in names if (number := _finite(line.get(name))) is not None}
        if len(found) == 3 and values:
            break
    step, total = (None if name not in found else int(found[name]) for name in ("step", "total_steps"))
    return LastLines(step, found.get("epoch"), total, values)


class MetricsLog:
    """Appends lines to a run's metrics.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, and a last line that a crash cut short; bytes that are no text are no error."""
        if not self.path.exists():
            return
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise disk_error(error, self.path, 0) from error
        kept = [line for line in text.splitlines() if _step(line) <= step]
        write_atomically(self.path, "".join(f"{line}\n" for line in kept).encode())

    def read(self) -> Iterator[dict[str, float]]:
        """Yield the lines with their numbers."""
        for line in _objects(_text(self.path).splitlines()):
            numbers = {name: number for name, value in line.items() if (number := _number(value)) is not None}
            if "step" in numbers:
                yield numbers

    def write(self, **numbers: float) -> dict[str, float]:
        """Append one line, and return its numbers as they were written. Raises WorkFailed when the disk is full."""
        written = {key: rounded(value) for key, value in numbers.items()}
        line = json.dumps(written) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise disk_error(error, self.path, len(line)) from error
        return written


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def rounded(value: float) -> float:
    """Return a number with nine significant digits: these numbers are not known more exactly."""
    return value if isinstance(value, int) else float(f"{value:.9g}")


def _lines_from_end(path: Path) -> Iterator[str]:
    """Yield the lines of the file's tail, the last one first; the line that the tail begins within counts as a line."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its writer
    except OSError:
        return
    try:
        size = os.fstat(file).st_size
        start, end = max(0, size - FIRST_BYTES), size
        rest, least = b"", max(0, size - TAIL_BYTES)
        while True:
            first, *lines = (os.pread(file, end - start, start) + rest).split(b"\n")
            yield from (line.decode(errors="replace") for line in reversed(lines))
            if start == least:
                yield first.decode(errors="replace")
                return
            rest, end, start = first, start, least
    except OSError:
        return
    finally:
        os.close(file)


def _objects(texts: Iterable[str]) -> Iterator[dict[str, object]]:
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            yield line


def _text(path: Path) -> str:
    try:
        return regular(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(value: object) -> float | None:
    """Return a JSON number that fits a float, nan and infinity included; None for anything else."""
    try:
        return float(value) if isinstance(value, NUMBERS) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _finite(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None
