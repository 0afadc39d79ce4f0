"""Which scores a transfer has: those that its task declares, on its own and on further test sets."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score

import mimbench
from benchmarks.tasks import TASKS
from tests.runs import only_run, record_of
from transfer.classification import ClassificationAdapter
from transfer.evaluate import Evaluation
from transfer.image_folder import LabelledFiles
from transfer.image_folder import TestSet as FurtherTestSet
from transfer.results import other_scores
from transfer.scores import metric_values

NOTHING = LabelledFiles((), [], [])


def evaluation(predicted: list[int], labels: list[int], positions: list[int]) -> Evaluation:
    return Evaluation(torch.eye(10)[predicted], torch.tensor(labels), torch.tensor(positions), [])


def test_reassessed_labels_are_found_by_position() -> None:
    """Image 1 could not be read: the accepted labels of the others must not shift."""
    accepted = tuple(map(frozenset, ({0}, {9}, {2, 3}, set())))
    found = evaluation([0, 3, 4], [0, 0, 0], [0, 2, 3])
    scores = other_scores(found, FurtherTestSet("imagenet_real", NOTHING, accepted), TASKS["imagenet1k"])
    assert scores == {"imagenet_real_top1": 100.0}


def test_another_test_set_is_scored_by_its_labels() -> None:
    found = evaluation([0, 3, 4, 5], [0, 3, 5, 5], [0, 1, 2, 3])
    scores = other_scores(found, FurtherTestSet("imagenet_v2", NOTHING), TASKS["imagenet1k"])
    assert scores["imagenet_v2_top1"] == pytest.approx(100 * accuracy_score([0, 3, 5, 5], [0, 3, 4, 5]))
    assert set(scores) == {"imagenet_v2_top1", "imagenet_v2_top5"}


def test_the_best_epoch_is_the_lowest_where_lower_is_better() -> None:
    lines = [{"epoch": 1.0, "top1": 70.0, "ece": 2.0}, {"epoch": 2.0, "top1": 69.0, "ece": 3.0}]
    values = metric_values(TASKS["imagenet1k"], lines, {"imagenet_v2_top1": 55.0})
    assert list(values) == ["top1", "ece", "imagenet_v2_top1"], "top5 was not measured"
    assert (values["ece"].last, values["ece"].best, values["ece"].best_epoch) == (3.0, 2.0, 1)
    assert (values["imagenet_v2_top1"].last, values["imagenet_v2_top1"].best) == (55.0, None)


@pytest.mark.parametrize("recipe", ["digits_knn", "digits_finetune"])
def test_every_protocol_measures_further_test_sets(
    recipe: str, small_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training images as a further test set, under a name that the task has metrics for."""
    find_data = ClassificationAdapter.find_data

    def with_another(self: ClassificationAdapter, *arguments: object) -> object:
        data = find_data(self, *arguments)  # type: ignore[arg-type]
        return replace(data, test_sets={"imagenet_v2": FurtherTestSet("imagenet_v2", data.train)})

    monkeypatch.setattr(ClassificationAdapter, "find_data", with_another)
    task = TASKS["digits"]
    metrics = (*task.metrics, TASKS["imagenet1k"].metric("imagenet_v2_top1"))
    monkeypatch.setitem(TASKS, "digits", task.model_copy(update={"metrics": metrics}))
    command = ["transfer", "digits", "--recipe", recipe, f"data.root={small_digits}", "--encoder", "random:digits_swin"]
    short = {
        "digits_knn": ["k=1", "other_k=[5]"],
        "digits_finetune": ["training.epochs=1", "training.batch_size=20", "training.schedule.warmup_epochs=0"],
    }
    assert mimbench.main([*command, *short[recipe], "--runs", str(tmp_path / "runs")]) == 0
    folder = only_run(tmp_path / "runs")
    found = record_of(folder).metrics
    assert found["imagenet_v2_top1"].best is None
    if recipe == "digits_knn":
        assert found["imagenet_v2_top1"].last == 100, "the nearest image of every training image is itself"
    with open(folder / "per_class.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["train_images"], row["test_images"]) for row in rows] == [
        (str(label), "4", "2") for label in range(10)
    ]
    assert sum(float(row["top1"]) for row in rows) / 10 == pytest.approx(found["top1"].last, abs=1e-3)
