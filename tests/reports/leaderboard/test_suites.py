"""Suites in leaderboards: a row is the mean of its parts, seed by seed, and compared like any other."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest

import mimbench
from benchmarks.runs.record import MetricValue, TaskUse
from tests.reports import factory

PARTS = ["cifar10", "cifar100", "food101", "dtd", "oxford_pets", "flowers102", "caltech101"]
PARTS += ["stanford_cars", "fgvc_aircraft", "sun397", "cub200", "voc2007"]
MEAN_PER_CLASS = {"oxford_pets", "flowers102", "caltech101", "fgvc_aircraft"}


def score(at: int, label: str, seed: int) -> float:
    return 40 + 4.25 * at + (3.5 + at / 8 if label == "simmim" else 0) + seed / 4


def write_suite(runs: Path, parts: list[str], recipe: str = "fine_grained_knn") -> None:
    """Write runs of two encoders and three seeds; what is not a data set's own score is lower by 7.

    VOC 2007 has a recipe of its own, whatever that of the others is.
    """
    for at, part in enumerate(parts):
        for label in ("simmim", "supervised"):
            for seed in range(3):
                value = score(at, label, seed)
                own = "mean_per_class" if part in MEAN_PER_CLASS else "mAP11" if part == "voc2007" else "top1"
                others = ("mAP11", "mAP") if part == "voc2007" else ("top1", "mean_per_class")
                both = dict.fromkeys(others, value - 7) | {own: value}
                metrics = {name: MetricValue(last=each) for name, each in both.items()}
                task, data = TaskUse(name=part, version=1), factory.data(f"718 images, content of {part}")
                use = factory.recipe("voc2007_svm" if part == "voc2007" else recipe)
                factory.write(runs, factory.transfer(label, seed, task=task, data=data, metrics=metrics, recipe=use))


def board(runs: Path, out: Path, *more: str) -> tuple[dict[str, dict[str, str]], str]:
    command = ["report", "leaderboard", str(runs), "--baseline", "supervised", "--out", str(out), *more]
    assert mimbench.main(command) == 0
    with (out / "leaderboard.csv").open(newline="") as file:
        rows = [line for line in csv.DictReader(file) if line["task"] == "fine_grained"]
    return {line["encoder"]: line for line in rows}, (out / "leaderboard.txt").read_text()


def test_the_mean_row_is_the_mean_of_the_parts_own_scores(tmp_path: Path) -> None:
    write_suite(tmp_path / "runs", PARTS)
    rows, text = board(tmp_path / "runs", tmp_path / "out")
    assert rows.keys() == {"simmim", "supervised"}
    by_seed = [statistics.fmean(score(at, "simmim", seed) for at in range(12)) for seed in range(3)]
    found = rows["simmim"]
    assert float(found["mean_last_mean"]) == pytest.approx(statistics.fmean(by_seed), abs=0.00501)
    assert float(found["mean_last_std"]) == pytest.approx(statistics.stdev(by_seed), abs=0.00501)
    assert float(found["mean_delta"]) == pytest.approx(statistics.fmean(3.5 + at / 8 for at in range(12)), abs=0.00501)
    for at, part in enumerate(PARTS):
        assert float(found[f"{part}_last_mean"]) == pytest.approx(score(at, "simmim", 1), abs=0.00501)
    assert "A suite's row is the mean over its data sets" in text
    assert mimbench.main(["report", "verify", str(tmp_path / "out")]) == 0


def test_a_suite_asked_for_by_its_name_is_its_mean_and_its_data_sets(tmp_path: Path) -> None:
    write_suite(tmp_path / "runs", PARTS)
    factory.write(tmp_path / "runs", factory.transfer())
    rows, _ = board(tmp_path / "runs", tmp_path / "out", "--task", "fine_grained")
    assert rows.keys() == {"simmim", "supervised"}
    with (tmp_path / "out" / "leaderboard.csv").open(newline="") as file:
        assert {line["task"] for line in csv.DictReader(file)} == {"fine_grained", *PARTS}
    assert mimbench.main(["report", "verify", str(tmp_path / "out")]) == 0


def test_a_suite_that_was_measured_in_part_has_no_mean_and_says_so(tmp_path: Path) -> None:
    write_suite(tmp_path / "runs", PARTS[:9])
    rows, text = board(tmp_path / "runs", tmp_path / "out")
    assert rows == {}
    why = "3 data sets of 12 not measured (sun397, cub200, voc2007)"
    words = f"fine_grained has no mean of simmim by fine_grained_knn: {why}"
    assert words in " ".join(text.split())
    notes = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["notes"]
    assert words in notes


def test_what_has_a_recipe_of_its_own_goes_with_every_recipe_of_the_others(tmp_path: Path) -> None:
    write_suite(tmp_path / "runs", PARTS)
    write_suite(tmp_path / "runs", PARTS[:-1], "imagenet1k_linear_mae")
    board(tmp_path / "runs", tmp_path / "out", "--task", "fine_grained")
    with (tmp_path / "out" / "leaderboard.csv").open(newline="") as file:
        rows = [line for line in csv.DictReader(file) if line["task"] == "fine_grained"]
    assert sorted((line["encoder"], line["recipe"]) for line in rows) == [
        (label, name) for label in ("simmim", "supervised") for name in ("fine_grained_knn", "imagenet1k_linear_mae")
    ]
    assert len({line["voc2007_last_mean"] for line in rows if line["encoder"] == "simmim"}) == 1
