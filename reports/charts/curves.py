"""Learning curves from metrics.jsonl, over seeds and thinned for a chart."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import NamedTuple

import pandas as pd

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
    by_seed = [_logged(run.folder, metric) for run in row.runs]
    values = pd.concat(by_seed, axis=1, join="inner").sort_index()
    if values.empty:
        return None
    means = values.apply(statistics.fmean, axis=1)
    return Curve(*(one.tolist() for one in (values.index, means, values.min(axis=1), values.max(axis=1))))


def loss_curve(folder: Path) -> Curve | None:
    """Return the training loss over epochs, at most 300 points: each the mean of a stretch, the band its range."""
    values = _logged(folder, "loss").sort_index()
    if values.empty:
        return None
    size = math.ceil(len(values) / MOST_POINTS)
    stretch = [place // size for place in range(len(values))]
    epochs, losses = values.index.to_series().groupby(stretch), values.groupby(stretch)
    means = (grouped.agg(statistics.fmean) for grouped in (epochs, losses))
    return Curve(*(one.tolist() for one in (*means, losses.min(), losses.max())))


def _logged(folder: Path, name: str) -> pd.Series[float]:
    return pd.Series(read_values(RunFolder(folder).metrics, name), dtype=float)
