"""A task's metrics for the record, taken from what a run measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from benchmarks.catalogue.tasks import Task
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
