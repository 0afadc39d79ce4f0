"""The files that a finished classification writes beside its record, and its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import torch

from benchmarks.runs.folder import RunFolder
from transfer.adapter import Transfer
from transfer.images.labelled import TestSet
from transfer.predictions.evaluation import Evaluation
from transfer.predictions.metrics import (
    ClassAccuracy,
    among,
    by_frequency,
    calibration_error,
    mean_over_classes,
    per_class,
    top1_accepted,
    top_k,
)
from transfer.scores import write_csv, write_test_sets

MASKED = "_masked"
"""The end of a score's name where predictions were made among some of the model's classes."""


class Labelled(Protocol):
    """Training and test files with their classes, as far as the results need them."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def train_labels(self) -> Sequence[int]: ...
    @property
    def files(self) -> str:
        """What the files are: "images" or "videos"."""
        ...

    def test_name(self, position: int) -> str:
        """Return a test file's path below the root."""
        ...


def scores_of(found: Evaluation, transfer: Transfer) -> dict[str, float]:
    """Return those metrics of the task that can be computed on the test set."""
    classes = _classes(found, transfer.data)
    measured = {
        "top1": top_k(found.logits, found.labels, 1),
        "top5": top_k(found.logits, found.labels, 5),
        "ece": calibration_error(found.logits, found.labels),
        "mean_per_class": sum(each.top1 for each in classes) / len(classes),
        **mean_over_classes(classes),
        **by_frequency(classes),
    }
    return {metric.name: measured[metric.name] for metric in transfer.task.metrics if metric.name in measured}


def further_scores(found: Evaluation, test_set: TestSet) -> dict[str, float]:
    """Return the accuracy in percent on a further test set: top-1 and, where one label alone is right, top-5.

    Among some of the model's classes they are called top1_masked and top5_masked: such a score is easier to reach.
    """
    logits = found.logits if test_set.scored is None else among(found.logits, test_set.scored)
    mark = "" if test_set.scored is None else MASKED
    if test_set.accepted is None:
        return {f"top{k}{mark}": top_k(logits, found.labels, k) for k in (1, 5)}
    accepted = [test_set.accepted[position] for position in found.positions.tolist()]
    return {f"top1{mark}": top1_accepted(logits, accepted)} if any(accepted) else {}


def _classes(found: Evaluation, data: Labelled) -> list[ClassAccuracy]:
    counts = Counter(data.train_labels)
    return per_class(found.logits, found.labels, [counts[label] for label in range(len(data.classes))])


def write_results(
    folder: RunFolder,
    found: Evaluation,
    data: Labelled,
    further: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
) -> None:
    """Write the CSV files of a run."""
    rows = torch.stack([found.positions, found.labels, found.predicted], dim=1).tolist()
    confidences = found.logits.softmax(dim=1).amax(dim=1).tolist()
    named = (
        (data.test_name(position), data.classes[label], data.classes[predicted], f"{confidence:.3f}")
        for (position, label, predicted), confidence in zip(rows, confidences, strict=True)
    )
    write_csv(folder.predictions, ("path", "label", "predicted", "confidence"), named)
    classes = (
        (data.classes[each.label], each.train_images, each.test_images, f"{each.top1:.4f}")
        for each in _classes(found, data)
    )
    write_csv(folder.per_class, ("class", f"train_{data.files}", f"test_{data.files}", "top1"), classes)
    if further:
        write_test_sets(folder, further)
