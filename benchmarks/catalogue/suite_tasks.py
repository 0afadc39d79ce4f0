"""Suites of tasks in the form of tasks, in which reports show them."""

from __future__ import annotations

from benchmarks.catalogue.metrics import Metric
from benchmarks.catalogue.suites import TASKS_OF
from benchmarks.catalogue.task import Task

SUITE_TASKS = {
    name: Task(
        name=name,
        version=2,
        kind="classification",
        dataset=f"{len(parts)} data sets ({', '.join(part.name for part in parts)}) and the mean of their scores",
        num_classes=None,
        metrics=(Metric(name="mean", unit="%"), *(Metric(name=part.name, unit="%") for part in parts)),
        primary_metric="mean",
        recipe=f"{name}_knn",
        source="https://arxiv.org/abs/1805.08974",
    )
    for name, parts in TASKS_OF.items()
}
"""By name; nothing is run under these names. Version 1 of fine_grained had no VOC 2007."""
