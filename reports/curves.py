"""Learning curves from metrics.jsonl, over seeds and thinned for a chart."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeGuard

from benchmarks.rundir import RunFolder
from reports.rows import Row

MOST_POINTS = 300


class Curve(NamedTuple):
    """Values over epochs; `low` and `high` span the seeds (equal to `mean` for one)."""

    epochs: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def score_curve(row: Row, metric: str) -> Curve | None:
    """Return `metric` over the epochs that all of the row's seeds evaluated; None without such epochs."""
    by_seed = [read_values(run.folder, metric) for run in row.runs]
    epochs = sorted(set.intersection(*(set(values) for values in by_seed)))
    if not epochs:
        return None
    at = [[values[epoch] for values in by_seed] for epoch in epochs]
    return Curve(epochs, [*map(statistics.fmean, at)], [*map(min, at)], [*map(max, at)])


def loss_curve(folder: Path) -> Curve | None:
    """Return the training loss over epochs, at most 300 points: each the mean of a stretch, the band its range."""
    values = sorted(read_values(folder, "loss").items())
    if not values:
        return None
    size = math.ceil(len(values) / MOST_POINTS)
    stretches = [values[start : start + size] for start in range(0, len(values), size)]
    losses = [[loss for _, loss in stretch] for stretch in stretches]
    epochs = [statistics.fmean(epoch for epoch, _ in stretch) for stretch in stretches]
    return Curve(epochs, [*map(statistics.fmean, losses)], [*map(min, losses)], [*map(max, losses)])


def read_values(folder: Path, name: str) -> dict[float, float]:
    """Return a logged value by epoch. A resumed run logs some epochs again: the later line counts."""
    found: dict[float, float] = {}
    for line in _lines(RunFolder(folder).metrics):
        epoch, value = line.get("epoch"), line.get(name)
        if _finite(epoch) and _finite(value):
            found[float(epoch)] = float(value)
    return found


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _lines(path: Path) -> Iterator[dict[str, object]]:
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:  # the last line of a killed process may be half a line
            continue
        if isinstance(line, dict):
            yield line
