"""What an encoder of others brings to its own evaluation stands in columns where compared rows differ in it."""

from __future__ import annotations

import csv
from pathlib import Path

import mimbench
from benchmarks.runs.record import NormalisationUse, RunRecord
from tests.reports import factory

HALVES = NormalisationUse(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), stated_by="preprocessor_config.json")
IMAGENETS = NormalisationUse(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), stated_by="assumed")


def columns(tmp_path: Path, *records: RunRecord) -> dict[str, dict[str, str]]:
    """Return the rows of a leaderboard by the encoder's label."""
    for record in records:
        factory.write(tmp_path / "runs", record)
    assert mimbench.main(["report", "leaderboard", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "leaderboard.csv").open(newline="") as file:
        return {row["encoder"]: row for row in csv.DictReader(file) if row["kind"] == "measured"}


def test_rows_that_differ_show_normalisation_interpolation_and_feature(tmp_path: Path) -> None:
    halves = factory.transfer("beit", normalisation=HALVES, feature="output: mean", test_images="squares, bilinear")
    other = factory.transfer("mae", normalisation=IMAGENETS, feature="output: class token")
    rows = columns(tmp_path, halves, other)
    assert rows["beit"]["normalisation"] == "mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
    assert rows["mae"]["normalisation"] == "mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    assert [rows[label]["feature"] for label in ("beit", "mae")] == ["output: mean", "output: class token"]
    assert rows["beit"]["test_images"] == "squares, bilinear"
    assert "Images normalised by" in (tmp_path / "out" / "leaderboard.html").read_text()


def test_rows_that_agree_have_no_such_columns(tmp_path: Path) -> None:
    rows = columns(tmp_path, *(factory.transfer(label, normalisation=HALVES) for label in ("beit", "siglip")))
    assert rows.keys() == {"beit", "siglip"}
    assert not {"normalisation", "feature", "test_images"} & rows["beit"].keys()
