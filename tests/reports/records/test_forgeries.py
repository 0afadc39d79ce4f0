"""Runs that somebody forged, or that a disk or an editor spoilt: refused or marked in words; honest ones stay."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.runs.metrics_log import read_evaluations, read_values
from reports.leaderboard.board import Request, make
from reports.records.collect import LONGEST_ERROR
from reports.records.signatures import signature_of
from reports.tables.csv_json_parquet import typed_rows
from tests.reports import factory

EVERY = factory.recipe(epochs=20, log_every_steps=12)
EARLIER = {"started_at": "2026-05-04T10:00:00+00:00", "finished_at": "2026-05-04T09:59:00+00:00"}


def lines(top1: float, seed: int = 0) -> list[dict[str, float]]:
    """Return a log whose steps have the speeds that were measured, as real ones do."""
    found = factory.score_lines(top1, 9.0, seed=seed)
    return [{**one, "images_per_second": 400 + seed + one["step"] / 7} if "loss" in one else one for one in found]


def run(runs: Path, seed: int, top1: float = 90.0, log: list[dict[str, float]] | None = None, **fields: Any) -> Path:
    return factory.write(
        runs, factory.transfer("simmim", seed, top1, **fields), lines(top1, seed) if log is None else log
    )


def predictions(folder: Path, text: Callable[[list[str]], list[str]] = lambda rows: rows, seed: int = 0) -> None:
    """Write predictions with confidences beside a record of 90 %, whose score they make without `text`."""
    log = (folder / "metrics.jsonl").read_bytes()
    factory.predict(folder, {"cat": 3})
    (folder / "metrics.jsonl").write_bytes(log)
    rows = (folder / "predictions.csv").read_text().splitlines()
    rows = [rows[0] + ",confidence", *(f"{row},0.{500 + 7 * seed + n}" for n, row in enumerate(rows[1:]))]
    (folder / "predictions.csv").write_text("\n".join(text(rows)) + "\n")


def edit(folder: Path, change: Callable[[str], str | bytes], name: str = "record.json") -> None:
    found = change((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_bytes(found if isinstance(found, bytes) else found.encode())


def _same_log(runs: Path) -> None:
    run(runs, 1, log=lines(90.0, 0))


def _same_weights(runs: Path) -> None:
    run(runs, 1, exported_sha256=factory.sha("mine"))
    run(runs, 2, exported_sha256=factory.sha("mine"))


def _same_predictions(runs: Path) -> None:
    for seed in (1, 2):
        predictions(run(runs, seed))


def _cut_at_its_start(runs: Path) -> None:
    run(runs, 1, recipe=EVERY, log=lines(90.0)[20:])


def _spliced(runs: Path) -> None:
    other = [{**one, "step": one["step"] / 2, "total_steps": 120} for one in lines(95.0, 7)]
    run(runs, 1, log=[*lines(90.0)[:20], *other[30:34], *lines(90.0)[20:]])


MARKED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a run copied under another seed, with its log": (_same_log, "seed 1 has the same log as seed 0"),
    "with its weights": (_same_weights, "seed 2 has the same weights as seed 1"),
    "with its predictions": (_same_predictions, "seed 2 has the same predictions as seed 1"),
    "a log cut at its start": (_cut_at_its_start, "log begins at step 132, with a line every 12 steps (seed 1)"),
    "a log with lines of another run": (_spliced, "log has lines of trainings of 120 and 240 steps (seed 1)"),
    "a log that goes back": (
        lambda runs: run(runs, 1, log=[*lines(90.0)[:20], *lines(90.0)[10:]]),
        "log goes back from step 120 to 72 (seed 1)",
    ),
    "a record whose time runs backwards": (
        lambda runs: run(runs, 1, **EARLIER),
        "ended at 2026-05-04T09:59:00+00:00, before it began at 2026-05-04T10:00:00+00:00 (seed 1)",
    ),
    "a record of no time": (
        lambda runs: run(runs, 1, started_at="yesterday"),
        "when it ran cannot be read in record.json (seed 1)",
    ),
    "predictions with further rows": (
        lambda runs: predictions(run(runs, 1), lambda rows: [*rows, *rows[5:7]]),
        "",  # they make another score
    ),
    "predictions with every row twice": (
        lambda runs: predictions(run(runs, 1), lambda rows: [*rows, *rows[1:]]),
        "predictions.csv names 30 images twice (seed 1)",
    ),
    "predictions of other labels": (
        lambda runs: [
            predictions(run(runs, 1)),
            predictions(run(runs, 2), lambda rows: [row.replace(",dog,dog", ",wolf,wolf") for row in rows], seed=2),
        ],
        "predictions of other test images",
    ),
    "predictions in UTF-16": (
        lambda runs: predictions_as(run(runs, 1), "utf-16"),
        "predictions.csv cannot be read (seed 1)",
    ),
}


def predictions_as(folder: Path, encoding: str) -> None:
    predictions(folder)
    edit(folder, lambda text: text.encode(encoding), "predictions.csv")


@pytest.mark.parametrize("name", MARKED)
def test_what_is_odd_is_marked_on_its_row(tmp_path: Path, name: str) -> None:
    forge, mark = MARKED[name]
    run(tmp_path, 0)
    forge(tmp_path)
    board = make(Request((str(tmp_path),)))
    marks = "; ".join(str(row.get("mark") or "") for row in typed_rows(board))
    if mark:
        assert mark in marks
        assert board.left_out == ()
    else:
        assert [left.kind for left in board.left_out] == ["altered record"]


def test_honest_runs_have_no_mark(tmp_path: Path) -> None:
    for seed in range(3):
        predictions(run(tmp_path, seed, recipe=EVERY), lambda rows: [rows[0], *reversed(rows[1:])], seed=seed)
    (row,) = typed_rows(make(Request((str(tmp_path),))))
    assert (row["runs"], row.get("mark")) == (3, None)


def test_one_run_under_two_names_repeats_nothing(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs", 0)
    for label in ("ours", "theirs"):
        factory.announce(tmp_path / f"stages/{label}.json", folder, label)
    rows = typed_rows(make(Request((str(tmp_path / "stages"),))))
    assert [(row["encoder"], row.get("mark")) for row in rows] == [("ours", None), ("theirs", None)]


def _score(value: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda text: text.replace('"last": 90.0', f'"last": {value}'))


def _deep(folder: Path) -> None:
    edit(folder, lambda text: text.replace('"epochs": 20', f'"epochs": {"[" * 50_000}{"]" * 50_000}'))


def _linked(folder: Path) -> None:
    (folder / "record.json").rename(folder / "elsewhere.json")
    (folder / "record.json").symlink_to("elsewhere.json")


def _in_circles(folder: Path) -> None:
    (folder / "record.json").unlink()
    (folder / "record.json").symlink_to("record.json")


def _pipe(name: str) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return replace


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a score as text": (_score('"90.0"'), "damaged: metrics.top1.last: Input should be a valid number"),
    "a score that is NaN": (_score("NaN"), "damaged: metrics.top1.last: Input should be a finite number"),
    "an infinite score": (_score("Infinity"), "damaged: metrics.top1.last: Input should be a finite number"),
    "a score that becomes infinite": (_score("1e999"), "damaged: metrics.top1.last: Input should be a finite number"),
    "the largest score": (_score("1e308"), "altered record: top1 is 1e+308, and lies between 0 and 100"),
    "a score of a thousand digits": (_score("9" * 1000), "damaged: metrics.top1.last: Input should be a finite number"),
    "10 MB of notes": (
        lambda folder: edit(folder, lambda text: text.replace('"hf-hub:lab', f'"{"n" * 10**7}:lab')),
        "damaged: more than 4,194,304 bytes",
    ),
    "deep nesting": (_deep, "damaged: "),
    "a name twice": (
        lambda folder: edit(folder, lambda text: text.replace('"seed": 0', '"seed": 7,\n  "seed": 0')),
        "damaged: 'seed' stands there twice",
    ),
    "a name twice far inside": (
        lambda folder: edit(folder, lambda text: text.replace('"last": 90.0', '"last": 99.0, "last": 90.0')),
        "damaged: 'last' stands there twice",
    ),
    "a byte order mark": (lambda folder: edit(folder, lambda text: b"\xef\xbb\xbf" + text.encode()), "damaged: "),
    "UTF-16": (lambda folder: edit(folder, lambda text: text.encode("utf-16")), "damaged: not a whole JSON object"),
    "NUL bytes after a power cut": (lambda folder: edit(folder, lambda text: "\0" * len(text)), "damaged: "),
    "a link in a circle": (_in_circles, "unreadable: "),
    "a pipe for a record": (_pipe("record.json"), "unreadable: a FIFO where an ordinary file belongs"),
    "a pipe for a log": (_pipe("metrics.jsonl"), "damaged: metrics.jsonl is a FIFO where an ordinary file belongs"),
    "a pipe for predictions": (_pipe("predictions.csv"), "damaged: predictions.csv is a FIFO where an ordinary file"),
    "a log in UTF-16": (
        lambda folder: edit(folder, lambda text: text.encode("utf-16"), "metrics.jsonl"),
        "altered record: it has no log (metrics.jsonl)",
    ),
    "scores of the log as texts": (
        lambda folder: edit(folder, lambda text: re.sub(r'"top1": ([\d.]+)', r'"top1": "\1"', text), "metrics.jsonl"),
        "altered record: nothing proves its top1",
    ),
    "a log of NaN": (
        lambda folder: edit(folder, lambda text: re.sub(r'"top1": [\d.]+', '"top1": NaN', text), "metrics.jsonl"),
        "altered record: nothing proves its top1",
    ),
    "record and log edited, predictions kept": (
        lambda folder: [
            predictions(folder),
            *(
                edit(folder, lambda text: text.replace("90.0", "99.0"), name)
                for name in ("record.json", "metrics.jsonl")
            ),
        ],
        "altered record: top1 is 99.0 in the record, 90.0 by predictions.csv",
    ),
    "two records with one id": (
        lambda folder: factory.write(folder.parent, factory.transfer("simmim", 0, 99.0), lines(99.0), name="copy"),
        "conflicting records: ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_words_and_honest_records_stay(tmp_path: Path, name: str) -> None:
    forge, reason = REFUSED[name]
    for seed in (1, 2):
        run(tmp_path, seed)
    forge(run(tmp_path, 0))
    board = make(Request((str(tmp_path),)))
    assert [row["runs"] for row in typed_rows(board)] == [2]
    assert board.left_out
    assert all(left.reason.startswith(reason) for left in board.left_out), board.left_out


def test_a_record_that_is_a_link_counts_as_what_it_links_to(tmp_path: Path) -> None:
    _linked(run(tmp_path, 0))
    (row,) = typed_rows(make(Request((str(tmp_path),))))
    assert (row["runs"], row.get("mark")) == (1, None)


def test_a_long_error_is_shown_by_its_beginning(tmp_path: Path) -> None:
    run(tmp_path, 0, status="failed", error="e" * 1_000_000)
    assert factory.reasons(tmp_path) == [f"failed: {'e' * LONGEST_ERROR}"]


def test_a_pipe_holds_up_no_reader(tmp_path: Path) -> None:
    folder = run(tmp_path, 0)
    for name in ("metrics.jsonl", "signed.json"):
        _pipe(name)(folder)
    assert read_values(folder / "metrics.jsonl", "top1") == {}
    assert list(read_evaluations(folder / "metrics.jsonl", "top1")) == []
    assert signature_of(folder, None).state == "wrongly signed"


def test_a_record_of_any_numbers_is_no_traceback(tmp_path: Path) -> None:
    honest = json.loads(factory.transfer("simmim", 1).model_dump_json())
    huge = (
        "seconds",
        "images_per_second",
        "peak_memory_mb",
        "steps",
        "attempts",
        "processes",
        "training_images",
        "seed",
    )
    for number, (name, value) in enumerate((name, value) for name in huge for value in (1e308, -1, 2**63, "", None)):
        folder = factory.write(tmp_path, factory.transfer("simmim", 1), lines(90.0, 1), name=str(number))
        (folder / "record.json").write_text(json.dumps({**honest, name: value}))
    run(tmp_path, 0)
    board = make(Request((str(tmp_path),)))
    assert sum(row["runs"] for row in typed_rows(board)) >= 1  # type: ignore[misc]
