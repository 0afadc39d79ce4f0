"""Logistic regression, few labels and the best layer through the program."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

import mimbench
from reports.records.integrity import altered
from tests.support.runs import record_of, trained
from tests.support.small import RANDOM
from tests.transfer.classification.features import frozen_features
from transfer.classification.frozen.logistic import fit


def command(recipe: str, data: Path, *more: str) -> list[str]:
    return ["transfer", "digits", "--recipe", recipe, f"data.root={data}", *more]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as table:
        return list(csv.DictReader(table))


def test_logistic_regression_is_scikit_learns_on_the_same_features(digits: Path, tmp_path: Path) -> None:
    """Of few strengths, the chosen one is fitted again on all training images, held-out ones too."""
    few = ["grid.count=6", "grid.lowest=1e-3", "grid.highest=1e2", "--encoder", "random:digits_swin"]
    folder = trained(command("digits_logistic", digits, *few), tmp_path / "runs")
    rows, record = rows_of(folder / "grid.csv"), record_of(folder)
    assert [float(row["strength"]) for row in rows] == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10, 100])
    best = max(float(row["held_out_top1"]) for row in rows)
    (chosen,) = (row for row in rows if "chosen" in row["note"])
    assert chosen == next(row for row in rows if float(row["held_out_top1"]) == best), "of equal ones the first"
    assert record.choice is not None
    assert (record.choice.members, record.choice.held_out_images) == (6, 40)
    (train, labels), (test, expected) = frozen_features(digits, "train"), frozen_features(digits, "test")
    strength = float(chosen["strength"])
    witness = LogisticRegression(C=strength, max_iter=1000, tol=1e-12).fit(train.astype("float64"), labels)
    assert record.metrics["top1"].last == pytest.approx(100 * witness.score(test.astype("float64"), expected), abs=0.2)


@pytest.mark.parametrize("intercept", [True, False])
def test_fewer_images_than_features_reach_the_minimum_of_the_whole_space(intercept: bool) -> None:
    """There the gradient of scikit-learn's objective is zero in every direction, and its minimum is the only one."""
    draw = torch.Generator().manual_seed(0)
    features, labels = torch.randn(30, 100, generator=draw, dtype=torch.float64), torch.arange(30) % 3
    for strength in (1e-2, 1.0, 1e3):
        fitted = fit(features, labels, 3, strength, intercept=intercept)
        weights, intercepts = fitted.weights.clone().requires_grad_(), fitted.intercepts.clone().requires_grad_()
        logits = features @ weights.T + intercepts
        loss = strength * cross_entropy(logits, labels, reduction="sum") + weights.square().sum() / 2
        of_weights, of_intercepts = torch.autograd.grad(loss, [weights, intercepts])
        assert of_weights.abs().max() < 1e-4 * fitted.weights.abs().max()
        assert not intercept or of_intercepts.abs().max() < 1e-5
        assert fitted.weights.shape == (3, 100)


def test_few_labels_are_drawn_several_times(small_digits: Path, tmp_path: Path) -> None:
    few = ["per_class=2", "other_per_class=[1,4]", "draws=3", *RANDOM]
    folder = trained(command("digits_few_shot", small_digits, *few), tmp_path / "runs")
    rows, record = rows_of(folder / "shots.csv"), record_of(folder)
    assert [(row["per_class"], row["draw"], row["images"]) for row in rows] == [
        (str(number), str(draw), str(10 * number)) for number in (1, 2, 4) for draw in range(3)
    ]
    own = [float(row["top1"]) for row in rows if row["note"]]
    assert record.draws is not None
    assert record.draws.top1 == pytest.approx(own)
    assert record.metrics["top1"].last == pytest.approx(statistics.fmean(own))
    assert record.draws.spread == pytest.approx(statistics.stdev(own))
    of_all = {row["top1"] for row in rows if row["per_class"] == "4"}
    assert len(of_all) == 1, "four images are all that there are: every draw is the same"
    assert altered(folder, record) is None


def test_a_changed_score_of_few_labels_is_found(small_digits: Path, tmp_path: Path) -> None:
    folder = trained(
        command("digits_few_shot", small_digits, "per_class=1", "other_per_class=[]", *RANDOM), tmp_path / "runs"
    )
    text = json.loads((folder / "record.json").read_text())
    text["metrics"]["top1"]["last"] += 1
    (folder / "record.json").write_text(json.dumps(text))
    assert "by shots.csv" in str(altered(folder, record_of(folder)))


@pytest.mark.parametrize(
    ("recipe", "overrides", "words"),
    [
        ("digits_few_shot", ["per_class=5"], "per_class = 5\n  rule:   at most the training images of every class (4)"),
        ("digits_logistic", ["grid.lowest=1", "grid.highest=0.1"], "grid.lowest must not be above grid.highest"),
        ("digits_logistic", ["grid.held_out={per_class: 4}"], "at least one image of every class left to train on"),
        ("digits_logistic", ["pooling=all"], "pooling = all"),
    ],
)
def test_mistakes_are_explained(
    recipe: str,
    overrides: list[str],
    words: str,
    small_digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = command(recipe, small_digits, *overrides, *RANDOM, "--runs", str(tmp_path))
    assert mimbench.main(given) == mimbench.WRONG
    assert words in capsys.readouterr().err
