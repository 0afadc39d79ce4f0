"""How far a run is, read from the tail of its metrics.jsonl while it is being written."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Progress:
    """The newest training line, and the newest score where the run has one."""

    step: int
    total_steps: int
    loss: float | None
    eta_seconds: float | None
    top1_percent: float | None


def read_progress(metrics: Path) -> Progress | None:
    """Return the progress that a metrics.jsonl shows, or None before its first training line."""
    training: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    for line in _newest_first(metrics):
        if score is None and _finite(line.get("top1")) is not None:
            score = line
        if _finite(line.get("total_steps")) is not None:
            training = line
            break
    if training is None:
        return None
    return Progress(
        step=int(training["step"]),
        total_steps=int(training["total_steps"]),
        loss=_number(training.get("loss")),
        eta_seconds=_finite(training.get("eta_seconds")),
        top1_percent=score["top1"] if score is not None else None,
    )


def _newest_first(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of the file's tail; what is torn, damaged or has no step is passed over."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
    except OSError:
        return
    for line in reversed(tail.splitlines()):
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict) and _finite(values.get("step")) is not None:
            yield values


def _number(value: object) -> float | None:
    """Return a JSON number that fits a float, nan and infinity included; None for anything else."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None


def _finite(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and math.isfinite(number) else None
