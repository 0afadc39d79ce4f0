"""How far a run is, read from the tail of its metrics.jsonl while it is being written."""

from __future__ import annotations

import json
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
        if score is None and "top1" in line and training is None:
            score = line
        if training is None and "total_steps" in line:
            training = line
            break
    if training is None:
        return None
    return Progress(
        step=int(training["step"]),
        total_steps=int(training["total_steps"]),
        loss=training.get("loss"),
        eta_seconds=training.get("eta_seconds"),
        top1_percent=score["top1"] if score is not None else None,
    )


def _newest_first(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of the file's tail; a line still being written, or torn by a crash, is passed over."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            tail = file.read()
    except FileNotFoundError:
        return
    for line in reversed(tail.splitlines()):
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and "step" in values:
            yield values
