"""The scores of a run: the task's metrics for its record, and the tables beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from benchmarks.catalogue.suites import MCE, mean_corruption_error
from benchmarks.catalogue.task import Task
from benchmarks.files.atomic import write_atomically
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import MetricValue


def metric_values(
    task: Task, evaluations: Sequence[Mapping[str, float]], once: Mapping[str, float] = MappingProxyType({})
) -> dict[str, MetricValue]:
    """Return the task's metrics by name; a metric that the run did not measure is absent.

    `evaluations` were made during the training and give the last value and the best with its epoch; `once` holds the
    scores that were measured only after it.
    """
    values = {name: MetricValue(last=value) for name, value in once.items()}
    for metric in task.metrics:
        lines = [line for line in evaluations if metric.name in line]
        if lines:
            best = (max if metric.higher_is_better else min)(lines, key=lambda line: line[metric.name])
            values[metric.name] = MetricValue(
                last=lines[-1][metric.name], best=best[metric.name], best_epoch=round(best["epoch"])
            )
    return {metric.name: values[metric.name] for metric in task.metrics if metric.name in values}


def declared(further: Mapping[str, Mapping[str, float]], task: Task) -> dict[str, float]:
    """Return those scores of further test sets that are metrics of the task, which calls them `NAME_METRIC`, and mCE
    where all of ImageNet-C's sets are among them."""
    named = {f"{name}_{metric}": value for name, scores in further.items() for metric, value in scores.items()}
    if (mce := mean_corruption_error(further)) is not None:
        named[MCE] = mce
    return {metric.name: named[metric.name] for metric in task.metrics if metric.name in named}


def write_test_sets(folder: RunFolder, further: Mapping[str, Mapping[str, float]]) -> None:
    """Add the scores on further test sets, by the sets' names, to the run's table of them."""
    rows: dict[str, dict[str, str]] = _read_test_sets(folder.test_sets)
    for name, scores in further.items():
        rows[name] = rows.get(name, {}) | {metric: f"{value:.4f}" for metric, value in scores.items()}
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    lines = ((name, *(row.get(metric, "") for metric in metrics)) for name, row in rows.items())
    write_csv(folder.test_sets, ("test_set", *metrics), lines)


def _read_test_sets(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row.pop("test_set"): {metric: value for metric, value in row.items() if value} for row in rows}


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; it is complete or does not appear at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
