"""Rows of a sweep: recipes of one name stand apart, named by what they have different; a grid's row by its choice."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from benchmarks.runs.probes import Choice
from reports.leaderboard.board import Request, make
from reports.tables.csv_json_parquet import to_csv
from reports.tables.text_markdown import to_text
from tests.reports import factory

PROBE = Choice(
    member="last 4 blocks, mean, learning rate 0.01",
    members=10,
    held_out_images=40,
    held_out_top1=87.5,
    held_out_loss=0.4,
    why="best top-1 of 10 on 40 held-out training images",
)


def test_members_of_a_sweep_are_apart_and_each_is_compared_with_the_baseline_of_its_own(tmp_path: Path) -> None:
    for rate, gain in ((0.01, 2.0), (0.1, -1.0)):
        swept = factory.recipe(base_lr=rate, workers=int(100 * rate))
        factory.write(tmp_path, factory.transfer("supervised", top1=80.0, recipe=swept))
        factory.write(tmp_path, factory.transfer("simmim", top1=80.0 + gain, recipe=swept))
    board = make(Request((str(tmp_path),), "supervised"))
    text, rows = to_text(board), list(csv.DictReader(io.StringIO(to_csv(board))))
    found = {(row["encoder"], row["varied"]): row["top1_delta"] for row in rows if row["kind"] == "measured"}
    assert found["simmim", "training.base_lr=0.01"] == "+2.00"
    assert found["simmim", "training.base_lr=0.1"] == "-1.00"
    assert len(found) == 4
    assert "recipe digits_finetune with training.base_lr=0.01 (" in text
    assert "workers" not in text


def test_a_grids_row_says_what_was_chosen_and_by_what(tmp_path: Path) -> None:
    other = PROBE.model_copy(update={"member": "output, mean, learning rate 0.1", "held_out_top1": 85.0})
    factory.write(tmp_path, factory.transfer(seed=0, choice=PROBE))
    factory.write(tmp_path, factory.transfer(seed=1, choice=other))
    board = make(Request((str(tmp_path),)))
    (row,) = (row for row in csv.DictReader(io.StringIO(to_csv(board))) if row["kind"] == "measured")
    for words in (row["chosen_probe"], " ".join(to_text(board).split())):
        assert "held-out top-1 87.50" in words
        assert "held-out top-1 85.00" in words
    assert "No other classifier was run on the test set." in " ".join(to_text(board).split())


def test_reports_without_sweeps_and_grids_have_no_such_columns(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer())
    header = to_csv(make(Request((str(tmp_path),)))).splitlines()[0]
    assert not {"varied", "chosen_probe", "mark"} & set(header.split(","))
