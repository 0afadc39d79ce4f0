"""Which scores a transfer has: those that its task declares, on its own and on further test sets."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score

import mimbench
from benchmarks.catalogue.tasks import TASKS
from benchmarks.data.image_source import ImageFiles
from tests.support.runs import only_run, record_of
from transfer.images.labelled import LabelledImages, TestSet
from transfer.predictions.evaluation import Evaluation
from transfer.predictions.results import further_scores
from transfer.scores import declared, metric_values

NOTHING = LabelledImages((), ImageFiles(Path(), []), [])


def evaluation(predicted: list[int], labels: list[int], positions: list[int]) -> Evaluation:
    return Evaluation(torch.eye(10)[predicted], torch.tensor(labels), torch.tensor(positions))


def test_reassessed_labels_are_found_by_position() -> None:
    """Image 1 could not be read: the accepted labels of the others must not shift."""
    accepted = tuple(map(frozenset, ({0}, {9}, {2, 3}, set())))
    found = evaluation([0, 3, 4], [0, 0, 0], [0, 2, 3])
    scores = further_scores(found, TestSet("imagenet_real", NOTHING, accepted))
    assert scores == {"top1": 100.0}


def test_another_test_set_is_scored_by_its_labels() -> None:
    found = evaluation([0, 3, 4, 5], [0, 3, 5, 5], [0, 1, 2, 3])
    scores = further_scores(found, TestSet("imagenet_v2", NOTHING, None))
    assert scores["top1"] == pytest.approx(100 * accuracy_score([0, 3, 5, 5], [0, 3, 4, 5]))
    assert set(scores) == {"top1", "top5"}
    assert declared({"imagenet_v2": scores, "sketch": scores}, TASKS["imagenet1k"]) == {
        "imagenet_v2_top1": scores["top1"],
        "imagenet_v2_top5": scores["top5"],
    }


def test_the_best_epoch_is_the_lowest_where_lower_is_better() -> None:
    lines = [{"epoch": 1.0, "top1": 70.0, "ece": 2.0}, {"epoch": 2.0, "top1": 69.0, "ece": 3.0}]
    values = metric_values(TASKS["imagenet1k"], lines, {"imagenet_v2_top1": 55.0})
    assert list(values) == ["top1", "ece", "imagenet_v2_top1"], "top5 was not measured"
    assert (values["ece"].last, values["ece"].best, values["ece"].best_epoch) == (3.0, 2.0, 1)
    assert (values["imagenet_v2_top1"].last, values["imagenet_v2_top1"].best) == (55.0, None)


SHORT = ["training.epochs=1", "training.batch_size=20", "training.schedule.warmup_epochs=0"]
SHORT_OF = {
    "digits_knn": ["k=1", "other_k=[5]"],
    "digits_finetune": SHORT,
    "digits_linear": SHORT,
    "digits_attentive": SHORT,
}


def rows_of(file: Path) -> list[dict[str, str]]:
    with open(file) as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def renamed_digits(small_digits: Path, tmp_path: Path) -> Path:
    """Digits whose two test images per class are called by ILSVRC's numbers 1 to 20: of class 0, of class 1, ..."""
    root = tmp_path / "data"
    shutil.copytree(small_digits, root)
    for number, path in enumerate(sorted((root / "test").rglob("*.png")), start=1):
        path.rename(path.with_name(f"ILSVRC2012_val_{number:08d}.png"))
    return root


@pytest.mark.parametrize("recipe", sorted(SHORT_OF))
def test_every_protocol_measures_further_test_sets(
    recipe: str, renamed_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training images, reassessed labels of the even-numbered test images, and of all: each class but the own."""
    reassessed = [[label] if number % 2 else [] for label in range(10) for number in range(2)]
    others = [sorted(set(range(10)) - {label}) for label in range(10) for _ in range(2)]
    for name, accepted in (("real", reassessed), ("others", others)):
        (renamed_digits / f"{name}.json").write_text(json.dumps(accepted))
    task = TASKS["digits"]
    metrics = (*task.metrics, *(TASKS["imagenet1k"].metric(f"imagenet_{name}_top1") for name in ("v2", "real")))
    monkeypatch.setitem(TASKS, "digits", task.model_copy(update={"metrics": metrics}))
    command = ["transfer", "digits", "--recipe", recipe, "--encoder", "random:digits_swin"]
    command += [f"data.root={renamed_digits}", f"data.test_sets.imagenet_v2.root={renamed_digits / 'train'}"]
    command += ["data.test_sets.imagenet_real.accepted=real.json", "data.test_sets.others.accepted=others.json"]
    assert mimbench.main([*command, *SHORT_OF[recipe], "--runs", str(tmp_path / "runs")]) == 0

    folder = only_run(tmp_path / "runs")
    found = record_of(folder).metrics
    further = {row["test_set"]: row for row in rows_of(folder / "test_sets.csv")}
    assert list(further) == ["imagenet_v2", "imagenet_real", "others"]
    for name in ("imagenet_v2", "imagenet_real"):
        assert found[f"{name}_top1"].best is None, "measured once, with the final weights"
        assert float(further[name]["top1"]) == pytest.approx(found[f"{name}_top1"].last, abs=1e-4)
    if recipe == "digits_knn":
        assert found["imagenet_v2_top1"].last == 100, "the nearest image of every training image is itself"
    predictions = rows_of(folder / "predictions.csv")
    assert [row["path"].split("/")[0] for row in predictions] == ["test"] * 20
    right = [row["label"] == row["predicted"] for row in sorted(predictions, key=lambda row: row["path"][-12:])]
    assert found["imagenet_real_top1"].last == pytest.approx(100 * sum(right[1::2]) / 10)
    assert float(further["others"]["top1"]) == pytest.approx(100 - 100 * sum(right) / 20)
    assert further["others"]["top5"] == ""


def test_the_accuracy_of_every_class(small_digits: Path, tmp_path: Path) -> None:
    command = ["transfer", "digits", "--recipe", "digits_knn", "--encoder", "random:digits_swin"]
    command += [f"data.root={small_digits}", *SHORT_OF["digits_knn"], "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == 0
    folder = only_run(tmp_path / "runs")
    rows = rows_of(folder / "per_class.csv")
    assert [(row["class"], row["train_images"], row["test_images"]) for row in rows] == [
        (str(label), "4", "2") for label in range(10)
    ]
    mean = sum(float(row["top1"]) for row in rows) / 10
    assert mean == pytest.approx(record_of(folder).metrics["top1"].last, abs=1e-3)
    assert not (folder / "test_sets.csv").exists()
