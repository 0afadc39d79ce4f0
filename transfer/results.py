"""What a finished transfer leaves behind besides its record: predictions, accuracy of every class; and the scores."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from benchmarks.files import write_atomically
from benchmarks.rundir import RunFolder
from benchmarks.tasks import Task
from transfer.adapter import Transfer
from transfer.evaluate import Evaluation
from transfer.image_folder import ImageFolders, TestSet
from transfer.metrics import ClassAccuracy, by_frequency, calibration_error, per_class, top1_accepted, top_k


def scores_of(found: Evaluation, transfer: Transfer) -> dict[str, float]:
    """Return those metrics of the task that the test set gives."""
    measured = {
        "top1": top_k(found.logits, found.labels, 1),
        "top5": top_k(found.logits, found.labels, 5),
        "ece": calibration_error(found.logits, found.labels),
        **by_frequency(_classes(found, transfer.data)),
    }
    return {metric.name: measured[metric.name] for metric in transfer.task.metrics if metric.name in measured}


def other_scores(found: Evaluation, test_set: TestSet, task: Task) -> dict[str, float]:
    """Return those metrics of the task that a further test set gives, each named after the set."""
    if test_set.accepted is not None:
        accepted = [test_set.accepted[position] for position in found.positions.tolist()]
        measured = {"top1": top1_accepted(found.logits, accepted)} if any(accepted) else {}
    else:
        measured = {"top1": top_k(found.logits, found.labels, 1), "top5": top_k(found.logits, found.labels, 5)}
    named = {f"{test_set.name}_{name}": value for name, value in measured.items()}
    return {metric.name: named[metric.name] for metric in task.metrics if metric.name in named}


def _classes(found: Evaluation, data: ImageFolders) -> list[ClassAccuracy]:
    counts = Counter(data.train.labels)
    return per_class(found.logits, found.labels, [counts[label] for label in range(len(data.classes))])


def write_results(folder: RunFolder, found: Evaluation, data: ImageFolders) -> None:
    """Write a line for every test image (its path below the root), and a line for every class."""
    rows = torch.stack([found.positions, found.labels, found.predicted], dim=1).tolist()
    named = (
        (data.test.files[position].relative_to(data.root).as_posix(), data.classes[label], data.classes[predicted])
        for position, label, predicted in rows
    )
    write_csv(folder.predictions, ("path", "label", "predicted"), named)
    classes = (
        (data.classes[each.label], each.train_images, each.test_images, f"{each.top1:.4f}")
        for each in _classes(found, data)
    )
    write_csv(folder.per_class, ("class", "train_images", "test_images", "top1"), classes)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
