"""Reports, pipelines and encoders of version 130fcfa are read, and shown in the words of that time."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import mimbench
from tests.golden.kept import KEPT, OLDER, PIPELINE, PRETRAINED, known_then, record_of


def test_a_leaderboard_says_what_it_said(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    formats = ["txt", "csv", "json"]
    asked = ["runs", "older", "--baseline", "scratch", "--out", "report", "--formats", ",".join(formats)]
    assert mimbench.main(["report", "leaderboard", *asked]) == 0
    text, table, document = ((work / f"report/leaderboard.{name}").read_text() for name in formats)
    # A column of few classes' tasks then, and the heading and the length of a table that is divided by families now.
    gone = {"top5", "last", "epoch", "(%)", "100.00", "(n", "=", "1)", "6", "digits:"}
    assert set(words_of(printed("leaderboard.txt")) - words_of(text)) <= gone
    assert capsys.readouterr().out.startswith(text)
    then = in_order(csv.DictReader(printed("leaderboard.csv").splitlines()))
    assert known_then(in_order(csv.DictReader(table.splitlines())), then) == then
    told, now = json.loads(printed("leaderboard.json")), json.loads(document)
    assert now.pop("made_by").startswith(told.pop("made_by"))  # the commit stands there, too
    told["summary"], told["rows"], now["rows"] = now["summary"], in_order(told["rows"]), in_order(now["rows"])
    assert known_then(now, told) == told


def in_order(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows by their run ids: tasks stand in the catalogue's order now, which the summary has, too."""
    return sorted(rows, key=lambda row: str(row["run_ids"]))


def words_of(text: str) -> Counter[str]:
    """Return how often each word stands in a text: the tables are laid out otherwise now, and there is an overview.

    Lines of settings, which have a mark now of runs by different commits, are left out: their cells are the CSV file's.
    """
    lines = [line for line in text.splitlines() if "(self-supervised)" not in line and "(random)" not in line]
    return Counter(word for line in lines for word in line.split() if not set(word) <= {"-"})


def test_a_leaderboard_of_that_time_is_verified(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(KEPT / "printed", work / "report")
    assert mimbench.main(["report", "verify", "report"]) == 0
    said = capsys.readouterr().out
    assert (said.count("agrees: "), said.count("not compared: ")) == (2, 1)


@pytest.mark.parametrize("name", OLDER.values())
def test_a_record_of_an_older_schema_is_reported(work: Path, name: str) -> None:
    run = work / "older" / name
    assert mimbench.main(["report", "leaderboard", str(run), "--out", "report", "--formats", "csv"]) == 0
    (row,) = csv.DictReader((work / "report/leaderboard.csv").read_text().splitlines())
    told = record_of(run)
    assert row["run_ids"] == f"{told['run_id']} (seed {told['seed']})"
    assert row["top1_last_mean"] == f"{told['metrics']['top1']['last']:.2f}"
    assert row["processes"] == "1"


@pytest.mark.usefixtures("work")
def test_a_comparison_says_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["report", "compare", "simmim", "scratch", "--in", "runs"]) == 0
    gone = words_of(printed("compare.txt")) - words_of(capsys.readouterr().out)
    # A digest that goes on in the next line now, as the text is narrower; and the titles of both parts on digits.
    assert all(len(word) == 64 for word in gone - Counter({"digits:": 2}))


@pytest.mark.usefixtures("work")
def test_an_exported_encoder_is_inspected(capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["checkpoint", "inspect", f"runs/{PRETRAINED}/encoder"]) == 0
    said = capsys.readouterr().out
    # A task, the default recipe of a task, and what states the normalisation.
    newer = (
        "digit_depths ",
        "digit_labels ",
        "digit_pairs ",
        "spair71k ",
        "nyuv2_depth ",
        "imagemasks ",
        "inaturalist2018 ",
        "ssv2 ",
        "normalisation is ",
    )
    # It called dense tasks "nothing", whose transfers load an encoder, and left out what inflation resizes for videos.
    corrected = ("ade20k ", "coco ", "coco_format ", "digit_motion ", "kinetics400 ", "videofolder ")
    assert all(" 100.0 %  " in line for line in said.splitlines() if line.startswith(corrected))
    known = [line for line in said.splitlines() if not line.startswith(newer + corrected)]
    before = [line for line in printed("inspect.txt").splitlines() if not line.startswith(newer + corrected)]
    assert sorted(known) == sorted(before), "that version printed the layers in another order every time"


@pytest.mark.usefixtures("work")
def test_a_stopped_pipeline_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["pipeline", "status", "before"]) == 0
    assert capsys.readouterr().out == printed("status.txt")
    assert mimbench.main(["pipeline", "list"]) == 0
    assert capsys.readouterr().out.startswith(f"{PIPELINE}  local  ")
    assert mimbench.main(["pipeline", "logs", "before", "digits.early.seed0"]) == 0
    assert "SIGTERM after step" in capsys.readouterr().out


def printed(name: str) -> str:
    """Return what that version printed, with the one sentence that says otherwise since intervals are Student's t."""
    then, now = "3 are needed", "2 pairs are needed, or 3 of each"
    return (KEPT / "printed" / name).read_text().replace(then, now)
