"""What every row was trained on: epochs x images of each stage, the marks of unlike data, and altered histories.

The sums are made by hand.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks.encoders import MANIFEST, read_manifest
from benchmarks.errors import UserError
from benchmarks.history import TrainingData, TrainingStage
from benchmarks.runs.record import RunRecord
from reports.charts.leaderboard import draw
from reports.formats import FORMATS, rendered
from reports.leaderboard.board import Leaderboard, Request, build
from reports.leaderboard.lines import Measured
from tests.reports import factory
from tests.support.runs import only_run, record_of
from tests.support.small import classification, pretraining

HOUR = 3600.0
GPUS = factory.ENVIRONMENT.model_copy(update={"device": "NVIDIA H100 80GB HBM3"})
IN1K = TrainingData(name="ImageNet-1K", images=1_281_167, labels="none")
IN22K = TrainingData(name="ImageNet-22K", images=14_197_122, labels="labels")


def recipe(name: str, epochs: int) -> Any:
    return factory.recipe(name).model_copy(update={"resolved": {"training": {"epochs": epochs, "batch_size": 10}}})


def chain(**fields: Any) -> tuple[RunRecord, RunRecord, RunRecord]:
    """A pretraining of 5 epochs x 100 images in 2 h, a training of 4 x 40 in 1 h, a transfer of 3 x 40 in 30 minutes.

    All on 8 GPUs, in the form of records that state no history.
    """
    shared: dict[str, Any] = {"environment": GPUS, "processes": 8}
    first = factory.pretrain(recipe=recipe("p", 5), training_images=100, seconds=2 * HOUR, **shared)
    second = factory.transfer(
        "simmim", recipe=recipe("s", 4), training_images=40, seconds=HOUR, parents=(first.run_id,), **shared
    )
    third = factory.transfer(
        encoder=factory.encoder("chained", epochs=4),
        recipe=recipe("t", 3),
        training_images=40,
        seconds=HOUR / 2,
        **{"parents": (first.run_id, second.run_id), **shared, **fields},
    )
    return first, second, third


def board_of(*places: Path, baseline: str | None = None) -> Leaderboard:
    return build(factory.collected(*places), Request(tuple(map(str, places)), baseline))


def row_of(board: Leaderboard, label: str) -> Measured:
    (found,) = (entry for section in board.sections for entry in section.entries if entry.row.encoder.label == label)
    return found


def budget(*places: Path, label: str = "chained") -> Any:
    return row_of(board_of(*places), label).budget


def stated(label: str, top1: float, *stages: TrainingStage, seed: int = 0, **fields: Any) -> RunRecord:
    use = factory.encoder(label, epochs=None, history=stages)
    return factory.transfer(encoder=use, seed=seed, top1=top1, recipe=recipe("r", 3), training_images=40, **fields)


def test_a_chain_costs_what_all_its_links_cost(tmp_path: Path) -> None:
    runs = [factory.write(tmp_path, record) for record in chain()]
    whole = budget(tmp_path)
    assert [stage.images_seen for stage in whole.stages] == [500, 160, 120]
    assert whole.images_seen == 780
    assert whole.gpu_hours == pytest.approx(8 * 3.5)
    # The parents lie beside the run, and are found where that run alone is asked for.
    assert budget(runs[2]).gpu_hours == pytest.approx(28)


def test_the_cost_chart_counts_a_supervised_parent(tmp_path: Path) -> None:
    first, second, third = chain()
    scratch = factory.transfer(
        "scratch", top1=80.0, recipe=third.recipe, seconds=HOUR / 2, environment=GPUS, processes=8
    )
    for record in (first, second, third, scratch):
        factory.write(tmp_path, record)
    charts = [chart.svg for own in draw(board_of(tmp_path)).sections for chart in own if "against cost" in chart.title]
    assert any("28.00 GPU hours" in svg and "4.00 GPU hours" in svg for svg in charts)


def test_a_parent_that_is_gone_leaves_the_sum_unknown(tmp_path: Path) -> None:
    first, _, third = chain()
    factory.write(tmp_path, first)
    factory.write(tmp_path, third)
    found = budget(tmp_path)
    assert found.images_seen is None
    assert found.gpu_hours is None
    assert found.before[0].images_seen == 500


@pytest.mark.parametrize("name", ["../../outside", "/etc", ".."])
def test_parents_are_runs_by_their_own_id(tmp_path: Path, name: str) -> None:
    _, _, third = chain(parents=(name,))
    factory.write(tmp_path / "runs", third)
    factory.write(tmp_path, chain()[0], name="outside")
    assert budget(tmp_path / "runs").before[0].data is None


def test_a_circle_of_parents_is_counted_once_and_marked(tmp_path: Path) -> None:
    third = chain()[2]
    folder = factory.write(tmp_path, third.model_copy(update={"parents": (third.run_id, third.run_id)}))
    found = budget(folder)
    assert found.images_seen is None
    assert found.doubts == (
        f"history names {third.run_id} 2 times",
        f"history names the row's own run {third.run_id}",
    )


def study(root: Path) -> Path:
    """Two encoders of unlike pretraining data and one of unknown data, over two seeds, and random weights."""
    simmim = TrainingStage(method="simmim", data=IN1K, epochs=800)
    labelled = TrainingStage(method="supervised", data=IN22K, epochs=90)
    for seed in (0, 1):
        for record in (
            stated("simmim", 85.0 + seed, simmim, seed=seed),
            stated("supervised", 84.0 + seed, labelled, seed=seed),
            stated("stranger", 83.0 + seed, TrainingStage(method="timm"), seed=seed),
            stated("scratch", 70.0 + seed, seed=seed),
        ):
            factory.write(root / "runs", record)
    return root / "runs"


def test_unlike_data_are_marked_and_every_format_has_the_sums(tmp_path: Path) -> None:
    board = board_of(study(tmp_path), baseline="simmim")
    marks = {label: row_of(board, label).mark for label in ("simmim", "supervised", "stranger", "scratch")}
    assert marks == {
        "simmim": "",
        "supervised": "other pretraining data than simmim: saw ImageNet-22K; did not see ImageNet-1K",
        "stranger": "pretraining data unknown",
        "scratch": "other pretraining data than simmim: did not see ImageNet-1K",
    }
    seen = {"simmim": 1_024_933_600 + 120, "supervised": 1_277_740_980 + 120, "scratch": 120, "stranger": None}
    rows = {row["encoder"]: row for row in json.loads(rendered(board, "json"))["rows"]}
    assert {label: row["images_seen"] for label, row in rows.items()} == seen
    assert rows["simmim"]["history"] == (
        "simmim 800 x 1,281,167 of ImageNet-1K (no labels), then supervised 3 x 40 of digits (labels)"
    )
    assert rows["stranger"]["pretraining_data"] == "unknown"
    table = {row["encoder"]: row for row in csv.DictReader(rendered(board, "csv").decode().splitlines())}
    assert {row["images_seen"] for row in table.values()} == {str(each or "") for each in seen.values()}
    for suffix in FORMATS.keys() - {"parquet"}:
        text = re.sub(r"\\allowbreak\{\}", "", rendered(board, suffix).decode())
        plain = suffix in ("csv", "json")
        assert ("1024933720" in text, "1,024,933,720" in text) == (plain, not plain), suffix
    charts = [chart for own in draw(board).sections for chart in own if "against images seen" in chart.title]
    assert ["1.025 billion images" in chart.svg for chart in charts] == [True]
    assert "Not known for stranger." in charts[0].caption


def test_records_of_before_have_no_new_columns(tmp_path: Path) -> None:
    board = board_of(factory.study(tmp_path), baseline="scratch")
    assert "history" not in json.loads(rendered(board, "json"))["rows"][0]
    assert not any(entry.mark for section in board.sections for entry in section.entries)


@pytest.mark.parametrize(
    "change", [{"epochs": 50.0}, {"data": TrainingData(name="p", images=1, labels="none")}, {"gpus": 1}]
)
def test_a_history_that_its_run_contradicts_is_marked(tmp_path: Path, change: dict[str, Any]) -> None:
    from benchmarks.runs.stages import own_stage

    parent = chain()[0]
    factory.write(tmp_path, parent)
    true = own_stage(parent)
    factory.write(
        tmp_path, stated("honest", 90.0, true.model_copy(update={"epochs": 2.0}))
    )  # an earlier epoch's encoder
    factory.write(tmp_path, stated("altered", 91.0, true.model_copy(update=change)))
    board = board_of(tmp_path)
    assert row_of(board, "altered").mark == f"history is not what the record of {parent.run_id} says"
    assert row_of(board, "honest").mark == ""


@pytest.mark.parametrize(
    "stages",
    [
        [{"method": "simmim", "epochs": -1}],
        [{"method": "simmim", "epochs": 1e300}],
        [{"method": "simmim", "data": {"name": "digits", "images": -5}}],
        [{"method": "simmim", "data": {"name": "digits", "images": 2**60}}],
        [{"method": ""}],
        [{"method": "x" * 10_000}],
        [{"method": "simmim", "gpus": 8.5}],
        [{"method": "simmim"}] * 65,
        [{"method": "simmim"}] * 10**6,
    ],
    ids=lambda stages: f"{len(stages)} {str(stages[0])[:60]}",
)
def test_an_altered_manifest_is_refused(tmp_path: Path, stages: list[dict[str, Any]]) -> None:
    kept = Path("tests/golden/before/finished/pretrain-digits_simmim-3b854210dfc7/encoder") / MANIFEST
    whole = json.loads(kept.read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**whole, "history": [{"method": "simmim", "epochs": 2}]}))
    assert read_manifest(tmp_path).pretraining_data is None
    (tmp_path / MANIFEST).write_text(json.dumps({**whole, "history": stages}))
    with pytest.raises(UserError):
        read_manifest(tmp_path)


def test_a_real_chain_states_its_budget_where_its_parents_are_gone(small_digits: Path, tmp_path: Path) -> None:
    """48 scans by 3 epochs without labels, twice, then 40 labelled ones by 4, twice: 144 + 144 + 160 + 160."""
    places = [tmp_path / name for name in ("pretrained", "continued", "trained", "measured")]
    assert mimbench.main([*pretraining(small_digits), "--runs", str(places[0])]) == 0
    starts = [[*pretraining(small_digits), "--initial"], *[[*classification(small_digits), "--encoder"]] * 2]
    for command, (before, after) in zip(starts, itertools.pairwise(places), strict=True):
        assert mimbench.main([*command, str(only_run(before)), "--runs", str(after)]) == 0
    run = only_run(places[-1])
    use = record_of(run).encoder
    assert use is not None
    found = budget(places[-1], label=use.label)
    assert [(stage.epochs, stage.data.images, stage.data.labels) for stage in found.stages] == [
        (3, 48, "none"),
        (3, 48, "none"),
        (4, 40, "labels"),
        (4, 40, "labels"),
    ]
    assert found.images_seen == 608
    assert found.doubts == ()
    exported = read_manifest(run / "encoder")
    assert exported.history is not None
    assert exported.history[:-1] == found.before == use.history
    assert [data.name for data in exported.pretraining_data or ()] == [
        "small_digits",
        "small_digits",
        "digits",
        "digits",
    ]


def test_two_sides_say_what_differs_in_their_histories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["report", "compare", "simmim", "supervised", "--in", str(study(tmp_path))]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 120
    assert "simmim 800 x 1,281,167 of ImageNet-1K (no labels)" in said
    assert "supervised 90 x 14,197,122 of ImageNet-22K" in said
