"""Nearest neighbours against scikit-learn, and a whole run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn.functional import normalize

import mimbench
from tests.support.processes import finished, launch
from tests.support.runs import only_run, record_of
from transfer.classification import knn
from transfer.classification.knn import Neighbours

CLASSES, TEMPERATURE = 7, 0.07


def features(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features, and labels that can be predicted from them, though not always."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    centres = torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(0))
    return normalize(centres[labels] + 1.5 * torch.randn(count, 16, generator=generator), dim=1), labels


def witness(k: int) -> KNeighborsClassifier:
    """Return scikit-learn's classifier; the cosine similarity of unit vectors is 1 - distance ** 2 / 2."""

    def votes(distances: np.ndarray) -> np.ndarray:
        weights: np.ndarray = np.exp((1 - distances**2 / 2) / TEMPERATURE)
        return weights

    return KNeighborsClassifier(k, weights=votes, algorithm="brute")


@pytest.mark.parametrize("k", [1, 10, 50])
def test_votes_equal_scikit_learns(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "CHUNK", 37)  # many chunks, none of them even
    train, labels = features(300, 1)
    test, _ = features(90, 2)
    neighbours = Neighbours(test, 50)
    for first in range(0, 300, 41):
        neighbours.add(train[first : first + 41], labels[first : first + 41])
    shares = neighbours.logits(k, TEMPERATURE, CLASSES).softmax(dim=1)
    expected = witness(k).fit(train.numpy(), labels.numpy()).predict_proba(test.numpy())
    np.testing.assert_allclose(shares.numpy(), expected, atol=2e-5)


def test_ranks_that_share_the_training_images_find_the_same() -> None:
    train, labels = features(300, 1)
    test, _ = features(90, 2)
    alone = Neighbours(test, 20)
    alone.add(train, labels)
    ranks = [Neighbours(test, 20) for _ in range(3)]
    for index, rank in enumerate(ranks):
        rank.add(train[index::3], labels[index::3])
    ranks[0].merge([(rank.similarity, rank.labels) for rank in ranks])
    torch.testing.assert_close(ranks[0].similarity, alone.similarity)
    assert ranks[0].labels.equal(alone.labels)


def test_a_whole_run(small_digits: Path, tmp_path: Path) -> None:
    command = ["transfer", "digits", "--recipe", "digits_knn", f"data.root={small_digits}", "other_k=[5,40]"]
    command += ["--encoder", "random:digits_swin", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == 0
    folder = only_run(tmp_path / "runs")
    record = record_of(folder)
    assert (record.status, record.steps, record.images_per_second, record.exported_sha256) == (
        "completed",
        0,
        None,
        None,
    )
    assert record.metrics["top1"].best is None, "nothing was trained, so there is no best epoch"
    with open(folder / "neighbours.csv") as file:
        rows = {int(row["k"]): float(row["top1"]) for row in csv.DictReader(file)}
    assert sorted(rows) == [5, 20, 40]
    assert record.metrics["top1"].last == pytest.approx(rows[20], abs=1e-4)
    with open(folder / "predictions.csv") as file:
        hits = [row["label"] == row["predicted"] for row in csv.DictReader(file)]
    assert record.metrics["top1"].last == pytest.approx(100 * sum(hits) / 20)


def test_one_k_alone(small_digits: Path, tmp_path: Path) -> None:
    command = ["transfer", "digits", "--recipe", "digits_knn", f"data.root={small_digits}", "other_k=[]"]
    assert mimbench.main([*command, "--encoder", "random:digits_swin", "--runs", str(tmp_path / "runs")]) == 0
    with open(only_run(tmp_path / "runs") / "neighbours.csv") as file:
        assert [row["k"] for row in csv.DictReader(file)] == ["20"]


def test_more_neighbours_than_images_are_refused(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transfer", "digits", "--recipe", "digits_knn", f"data.root={small_digits}"]
    command += ["--encoder", "random:digits_swin", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "other_k = 200\n  rule:   at most the number of training images (40)" in said


def test_a_frozen_encoders_run_is_no_encoder(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["transfer", "digits", "--recipe", "digits_knn", f"data.root={small_digits}", "other_k=[5]"]
    assert mimbench.main([*command, "--encoder", "random:digits_swin", "--runs", str(tmp_path / "runs")]) == 0
    measured = only_run(tmp_path / "runs")
    assert mimbench.main([*command, "--encoder", str(measured), "--runs", str(tmp_path / "more")]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "a run that trained an encoder" in said
    assert "random:digits_swin" in said


def test_two_processes_find_the_same_neighbours(small_digits: Path, tmp_path: Path) -> None:
    command = ["transfer", "digits", "--recipe", "digits_knn", f"data.root={small_digits}", "other_k=[5,40]"]
    command += ["inference.batch_size=7", "--encoder", "random:digits_swin", "--runs"]
    assert mimbench.main([*command, str(tmp_path / "one")]) == 0
    ranks = finished(launch([*command, str(tmp_path / "two")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    one, two = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    for name in ("predictions.csv", "neighbours.csv", "per_class.csv"):
        assert (one / name).read_text() == (two / name).read_text()
