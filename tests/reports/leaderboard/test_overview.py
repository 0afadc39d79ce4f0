"""The overview and its sentences, against standings, ranks and times that were worked out by hand."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from benchmarks.catalogue.metrics import DEPTH
from benchmarks.catalogue.published import load_references
from benchmarks.runs.record import MetricValue
from reports.formats import rendered
from reports.leaderboard.board import Leaderboard, Request, make
from reports.leaderboard.lines import Published
from reports.page.leaderboard import to_html
from reports.tables import cells
from reports.tables.csv_json_parquet import to_json
from reports.tables.findings import findings_of, title_of
from reports.tables.overview import overview_of
from reports.tables.table import tables_of
from reports.tables.text_markdown import to_markdown, to_text
from reports.text import WIDTH
from tests.reports import factory

SCORES = {
    "digits": {"scratch": [80, 81, 82], "simmim": [90, 91.5, 92], "supervised": [80, 82, 81]},
    "imagefolder": {"scratch": [70, 71, 72], "simmim": [60, 61.5, 62], "supervised": [90, 91, 92.5]},
}
"""By hand: simmim is ahead by 10.17 on digits and behind by 9.83 on imagefolder; supervised's 0, +1, -1 are undecided.
Ranks, digits: simmim 1, then both others 2.5 with a mean of 81; imagefolder: supervised 1, scratch 2, simmim 3."""


def written(folder: Path, scores: dict[str, dict[str, list[float]]]) -> Path:
    for task, encoders in scores.items():
        for label, values in encoders.items():
            for seed, value in enumerate(values):
                use = factory.TaskUse(name=task, version=1)
                factory.write(folder, factory.transfer(label, seed, float(value), task=use))
    return folder


def board_of(folder: Path, baseline: str | None = "scratch") -> Leaderboard:
    return make(Request((str(folder),), baseline))


def test_standings_differences_and_mean_ranks(tmp_path: Path) -> None:
    overview = overview_of(board_of(written(tmp_path, SCORES)))
    assert overview.titles[:-1] == ["Encoder", "imagefolder: top1 (%)", "digits: top1 (%)", "Mean rank"]
    assert [row[:-1] for row in overview.rows] == [
        ["supervised", "91.17, +20.17 (ahead)", "81.00, +0.00 (undecided)", "1.75"],
        ["simmim", "61.17, -9.83 (behind)", "91.17, +10.17 (ahead)", "2.00"],
        ["scratch", "71.00 (baseline)", "81.00 (baseline)", "2.25"],
    ]


def test_sentences_say_what_the_numbers_say(tmp_path: Path) -> None:
    board = board_of(written(tmp_path, SCORES))
    assert title_of(board) == "supervised and simmim against scratch on imagefolder and digits"
    assert findings_of(board) == [
        "supervised is ahead of scratch on 1 of 2 tasks: imagefolder +20.17; neither ahead of nor behind scratch on 1: "
        "digits +0.00.",
        "simmim is ahead of scratch on 1 of 2 tasks: digits +10.17; behind scratch on 1: imagefolder -9.83.",
        "Of the 3 encoders compared on both tasks, supervised has the best mean rank (1.75).",
        "Ahead and behind mean that the 95 % interval of the difference excludes 0 (paired t, n = 3).",
    ]


def test_without_seeds_nothing_is_ahead(tmp_path: Path) -> None:
    scores = {"digits": {"scratch": [80.0], "simmim": [99.0]}, "imagefolder": {"scratch": [70.0], "simmim": [60.0]}}
    board = board_of(written(tmp_path, scores))
    assert {row[0]: row[2] for row in overview_of(board).rows}["simmim"] == "99.00, +19.00 (no interval)"
    assert findings_of(board) == [
        "simmim is better than scratch, without an interval, on 1 of 2 tasks: digits +19.00; worse than scratch, "
        "without an interval, on 1: imagefolder -10.00.",
        "Of the 2 encoders compared on both tasks, scratch and simmim have the best mean rank (1.50).",
        "Where there is no interval there are too few seeds: such a difference may be chance.",
    ]


def test_without_seeds_a_smaller_error_is_better(tmp_path: Path) -> None:
    depth = factory.TaskUse(name="digit_depths", version=1)
    for label, error in (("scratch", 30.0), ("simmim", 20.0), ("other", 30.0)):
        values = {metric.name: MetricValue(last=error, best=error, best_epoch=20) for metric in DEPTH}
        factory.write(tmp_path, factory.transfer(label, task=depth, metrics=values))
    first, second, *_ = findings_of(board_of(tmp_path))
    assert first == "simmim is better than scratch, without an interval, on digit_depths: -10.00."
    assert second == "other is equal to scratch, without an interval, on digit_depths: +0.00."


def test_no_rank_over_what_is_not_alike(tmp_path: Path) -> None:
    """An encoder by another recipe is not compared, has no rank, and takes none from the others."""
    written(tmp_path, SCORES)
    other = factory.recipe("digits_other", epochs=3)
    for task in SCORES:
        use = factory.TaskUse(name=task, version=1)
        factory.write(tmp_path, factory.transfer("longer", 0, 99.9, task=use, recipe=other))
    overview = overview_of(board_of(tmp_path))
    ranks = {one.name: one.mean_rank for one in overview.encoders}
    assert ranks == {"supervised": 1.75, "simmim": 2.0, "scratch": 2.25, "longer": None}
    assert overview.rows[-1][1] == "99.90 (not compared)"


def test_protocols_of_a_task_are_columns_of_their_own(tmp_path: Path) -> None:
    for name, top1 in (("finetune", 90.0), ("linear", 60.0)):
        recipe = factory.recipe(f"digits_{name}")
        recipe = recipe.model_copy(update={"resolved": {**recipe.resolved, "protocol": name}})
        factory.write(tmp_path, factory.transfer("simmim", 0, top1, recipe=recipe))
    assert overview_of(board_of(tmp_path, None)).rows[0][:3] == ["simmim", "90.00", "60.00"]


def test_an_encoder_has_the_time_of_all_that_led_to_it(tmp_path: Path) -> None:
    written(tmp_path, {"digits": {"scratch": [80, 81]}})
    prices = {row[0]: row[-1] for row in overview_of(board_of(tmp_path)).rows}
    assert prices == {"scratch": "0 + 42 s"}  # two runs of 21.25 s of the factory's
    written(tmp_path / "more", {"digits": {"simmim": [80]}})
    prices = {row[0]: row[-1] for row in overview_of(board_of(tmp_path)).rows}
    assert prices["simmim"] == "? + 21 s"  # a record without its history, and no parent at hand
    factory.write(tmp_path, factory.transfer("scratch", 2, 80.0, seconds=4 * 3600.0))
    assert {row[0]: row[-1] for row in overview_of(board_of(tmp_path)).rows}["scratch"] == "0.0 + 4.0 h"


@pytest.mark.parametrize("baseline", ["scratch", None])
def test_every_format_has_the_same_overview(tmp_path: Path, baseline: str | None) -> None:
    board = board_of(written(tmp_path, SCORES), baseline)
    overview, text, page = overview_of(board), to_text(board), to_html(board)
    marked, document = to_markdown(board), json.loads(to_json(board))
    assert max(map(len, text.splitlines())) <= WIDTH
    for finding in findings_of(board):
        assert finding in " ".join(text.replace("\n  ", " ").splitlines())
        assert finding in page
        assert finding in document["findings"]
    for encoder in overview.encoders:
        for glance in filter(None, encoder.glances):
            assert glance.words in text
            assert glance.words in marked
            assert f"<b>{glance.score}</b>" in page
    assert [one["encoder"] for one in document["overview"]] == [one.name for one in overview.encoders]
    assert document["overview"][0]["tasks"][0]["score"] == float(overview.encoders[0].glances[0].score)  # type: ignore


def test_a_long_overview_keeps_the_baseline(tmp_path: Path) -> None:
    many = {f"encoder{number:02}": [90.0 + number / 10] for number in range(40)}
    overview = overview_of(board_of(written(tmp_path, {"digits": {**many, "scratch": [10.0]}})))
    assert len(overview.encoders) == 31
    assert overview.encoders[-1].name == "scratch"
    assert overview.more == 10


@pytest.mark.parametrize(("classes", "has_top5"), [(4, False), (6, False), (7, True), (None, True)])
def test_among_few_classes_no_score_is_of_the_best_five(tmp_path: Path, classes: int | None, has_top5: bool) -> None:
    run = factory.write(tmp_path, factory.transfer("simmim", task=factory.TaskUse(name="imagefolder", version=1)))
    if classes is not None:
        (run / "per_class.csv").write_text("class,images,top1\n" + "a,1,1.0\n" * classes)
    (table,) = tables_of(board_of(tmp_path, None))
    assert any(column.title.startswith("top5") for column in table.in_blocks("scores")) == has_top5
    assert "top5_last_mean" in table.parts


@pytest.mark.parametrize(
    ("hours", "text"), [(None, ""), (0.0, "0.00"), (0.1, "0.10"), (12.345, "12.35"), (0.0123, "0.012")]
)
def test_tiny_costs_do_not_become_nothing(hours: float | None, text: str) -> None:
    assert cells.hours(hours) == text


def test_frozen_and_fine_tuned_never_share_a_table(tmp_path: Path) -> None:
    protocols = {"finetune": 90.0, "linear": 60.0, "knn": 55.0, "evaluate": 88.0}
    for name, top1 in protocols.items():
        recipe = factory.recipe(f"digits_{name}")
        recipe = recipe.model_copy(update={"resolved": {**recipe.resolved, "protocol": name}})
        factory.write(tmp_path, factory.transfer("simmim", 0, top1, recipe=recipe))
    adapted = factory.recipe("digits_adapters")
    adapted = adapted.model_copy(update={"resolved": {**adapted.resolved, "adapters": {"rank": 8}}})
    factory.write(tmp_path, factory.transfer("simmim", 0, 85.0, recipe=adapted))
    board = board_of(tmp_path, None)
    found = {section.title: [one.row.protocol for one in section.entries] for section in board.sections}
    assert found == {
        "digits (fine-tuned)": ["finetune"],
        "digits (low-rank adapters)": ["low-rank adapters"],
        "digits (frozen)": ["knn", "linear"],
        "digits (trained elsewhere)": ["evaluate"],
    }
    assert [heading.title for heading in overview_of(board).headings] == [
        "digits (fine-tuned): top1 (%)",
        "digits (low-rank adapters): top1 (%)",
        "digits (nearest neighbours): top1 (%)",
        "digits (linear probe): top1 (%)",
        "digits (trained elsewhere): top1 (%)",
    ]
    page = to_html(board)
    assert page.count('<table class="board">') == 4
    assert 'id="task-digits-low-rank-adapters"' in page


def test_a_sentence_lists_tasks_under_several_protocols_one_by_one(tmp_path: Path) -> None:
    for name, better in (("finetune", 4.0), ("few-shot", 2.0)):
        recipe = factory.recipe(f"digits_{name}")
        recipe = recipe.model_copy(update={"resolved": {**recipe.resolved, "protocol": name}})
        for label, top1 in (("scratch", 80.0), ("simmim", 80.0 + better)):
            for seed in range(3):
                factory.write(tmp_path, factory.transfer(label, seed, top1 + seed, recipe=recipe))
    sentence = "simmim is ahead of scratch on 2 of 2 tasks: digits (fine-tuned) +4.00, digits (few-shot) +2.00."
    board = board_of(tmp_path)
    assert findings_of(board)[0] == sentence
    for suffix in ("txt", "md", "json"):
        assert sentence in rendered(board, suffix).decode().replace("\\", "")
    assert sentence in html.unescape(rendered(board, "html").decode())


def test_published_neighbours_stand_with_frozen_encoders() -> None:
    published = [Published((each,)) for each in load_references() if each.task == "ade20k"]
    families = {each.first.protocol: each.family for each in published}
    assert families == {"finetune": "fine-tuned", "knn": "frozen"}


def test_a_difference_between_families_is_refused_as_before(tmp_path: Path) -> None:
    recipe = factory.recipe("digits_linear")
    recipe = recipe.model_copy(update={"resolved": {**recipe.resolved, "protocol": "linear"}})
    factory.write(tmp_path, factory.transfer("simmim", 0, 60.0, recipe=recipe))
    factory.write(tmp_path, factory.transfer("scratch", 0, 80.0))
    frozen = board_of(tmp_path).sections[1]
    assert frozen.entries[0].comparison.note == "other recipe: digits_linear, baseline digits_finetune"
