"""Learning curves from metrics.jsonl, over seeds and thinned for a chart."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import NamedTuple

from benchmarks.runs.folder import RunFolder
from benchmarks.runs.metrics_log import read_values
from reports.records.rows import Row

MOST_POINTS = 300


class Curve(NamedTuple):
    """Values over epochs; `low` and `high` span the seeds (equal to `mean` for one)."""

    epochs: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def score_curve(row: Row, metric: str) -> Curve | None:
    """Return `metric` over the epochs that all of the row's seeds evaluated; None without such epochs."""
    by_seed = [read_values(RunFolder(run.folder).metrics, metric) for run in row.runs]
    epochs = sorted(set.intersection(*(set(values) for values in by_seed)))
    if not epochs:
        return None
    at = [[values[epoch] for values in by_seed] for epoch in epochs]
    return Curve(epochs, [*map(statistics.fmean, at)], [*map(min, at)], [*map(max, at)])


def loss_curve(folder: Path) -> Curve | None:
    """Return the training loss over epochs, at most 300 points: each the mean of a stretch, the band its range."""
    values = sorted(read_values(RunFolder(folder).metrics, "loss").items())
    if not values:
        return None
    size = math.ceil(len(values) / MOST_POINTS)
    stretches = [values[start : start + size] for start in range(0, len(values), size)]
    losses = [[loss for _, loss in stretch] for stretch in stretches]
    epochs = [statistics.fmean(epoch for epoch, _ in stretch) for stretch in stretches]
    return Curve(epochs, [*map(statistics.fmean, losses)], [*map(min, losses)], [*map(max, losses)])
