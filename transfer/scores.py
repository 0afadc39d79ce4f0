"""A task's metrics out of the evaluations of one training."""

from __future__ import annotations

from benchmarks.record import MetricValue
from benchmarks.tasks import Metric, Task


def metric_values(task: Task, evaluations: list[dict[str, float]]) -> dict[str, MetricValue]:
    """Return those of the task's metrics that were evaluated: the last one is the score, the best one named so."""
    return {each.name: _value(each, evaluations) for each in task.metrics if each.name in evaluations[-1]}


def _value(metric: Metric, evaluations: list[dict[str, float]]) -> MetricValue:
    name = metric.name
    best = (max if metric.higher_is_better else min)(evaluations, key=lambda line: line[name])
    return MetricValue(last=evaluations[-1][name], best=best[name], best_epoch=round(best["epoch"]))
