"""The catalogue of tasks: what is measured, on what, in which unit. Adding a task is one entry here."""

from __future__ import annotations

from typing import Literal

from benchmarks.config import Config
from benchmarks.errors import UserError, did_you_mean


class Metric(Config):
    """One number's meaning."""

    name: str
    unit: str
    higher_is_better: bool = True


class Task(Config):
    """What is measured. A changed protocol gets a new version; results of two versions are never compared."""

    name: str
    version: int
    kind: Literal["classification", "detection", "segmentation", "video"]
    dataset: str
    num_classes: int | None
    """None: as many as the data set has."""
    metrics: tuple[Metric, ...]
    primary_metric: str
    recipe: str
    """The transfer recipe used when none is named."""
    source: str
    superseded_by: str | None = None

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)


TOP1 = Metric(name="top1", unit="%")
TOP5 = Metric(name="top5", unit="%")

TASKS = {
    task.name: task
    for task in (
        Task(
            name="imagenet1k",
            version=1,
            kind="classification",
            dataset="ImageNet-1K (ILSVRC 2012), fine-tuning",
            num_classes=1000,
            metrics=(TOP1, TOP5),
            primary_metric="top1",
            recipe="imagenet1k_swin_base_192_after_100ep",
            source="https://www.image-net.org/challenges/LSVRC/2012/",
        ),
        Task(
            name="imagefolder",
            version=1,
            kind="classification",
            dataset="any folder with one sub-folder of images per class",
            num_classes=None,
            metrics=(TOP1, TOP5),
            primary_metric="top1",
            recipe="imagenet1k_swin_base_192_after_100ep",
            source="the user's own data",
        ),
        Task(
            name="digits",
            version=1,
            kind="classification",
            dataset="UCI handwritten digits (scikit-learn's copy), 20 labelled scans per class",
            num_classes=10,
            metrics=(TOP1, TOP5),
            primary_metric="top1",
            recipe="digits_finetune",
            source="https://archive.ics.uci.edu/dataset/80",
        ),
    )
}


def find_task(name: str) -> Task:
    """Return the task called `name`. Raises UserError with the nearest name when there is none."""
    if name not in TASKS:
        raise UserError.about("task", name, "a task of the catalogue", did_you_mean(name, TASKS))
    return TASKS[name]
