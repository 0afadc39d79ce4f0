"""Metrics that only some runs measure, and those that were measured once."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from benchmarks.runs.find import find_runs
from benchmarks.runs.record import MetricValue, TaskUse
from reports.leaderboard.board import Leaderboard, Request, build
from reports.page.leaderboard import to_html
from reports.records.collect import collect
from reports.tables.column import NONE
from reports.tables.csv_json_parquet import to_csv
from reports.tables.table import tables_of
from reports.tables.text_markdown import to_markdown, to_text
from tests.reports import factory

ONCE = {"top1": MetricValue(last=71.5), "top5": MetricValue(last=90.25), "ece": MetricValue(last=3.125)}


def board(runs: Path) -> Leaderboard:
    return build(collect(find_runs([str(runs)])), Request((str(runs),)))


def titles(found: Leaderboard, *blocks: str) -> list[str]:
    (table,) = tables_of(found)
    return [column.title for column in table.columns if column.block in blocks]


def test_metrics_without_a_best_epoch_show_none(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer("simmim", metrics=ONCE, images_per_second=None, steps=0))
    found = board(tmp_path)
    (line,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert (line["top1_last_mean"], line["top1_best_mean"], line["images_per_second"]) == ("71.50", "", "")
    (table,) = tables_of(found)
    assert list(table.texts["top1 best epoch (%)"]) == [NONE]
    assert "71.50 (n = 1)" in to_text(found)


def test_calibration_stands_in_the_details_and_in_the_csv_file(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer("simmim", metrics=ONCE))
    found = board(tmp_path)
    title = "ece last epoch (%, lower is better)"
    assert title in titles(found, "provenance")
    assert title not in titles(found, "scores")
    (line,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert line["ece_last_mean"] == "3.12"
    assert title not in to_markdown(found)
    assert title in to_html(found)


def test_only_measured_optional_metrics_have_columns(tmp_path: Path) -> None:
    task = TaskUse(name="imagenet1k", version=1)
    metrics = {**ONCE, "imagenet_v2_top1": MetricValue(last=61.0)}
    factory.write(tmp_path, factory.transfer("simmim", metrics=metrics, task=task))
    factory.write(tmp_path, factory.transfer("supervised", metrics=ONCE, task=task))
    found = board(tmp_path)
    assert "imagenet_v2_top1 last epoch (%)" in titles(found, "scores")
    assert not any("imagenet_real" in title for title in titles(found, "scores", "provenance"))
    lines = csv.DictReader(io.StringIO(to_csv(found)))
    assert [line["imagenet_v2_top1_last_mean"] for line in lines if line["kind"] == "measured"] == ["61.00", ""]


def test_frequency_groups_render(tmp_path: Path) -> None:
    names = [f"top1_{group}" for group in ("many", "medium", "few")]
    metrics = {**ONCE, **{name: MetricValue(last=50.0 + index) for index, name in enumerate(names)}}
    factory.write(
        tmp_path, factory.transfer("simmim", metrics=metrics, task=TaskUse(name="inaturalist2018", version=1))
    )
    text = to_markdown(board(tmp_path))
    assert all(f"{name} last epoch" in text.replace("\\", "") for name in names)
    assert all(value in text for value in ("50.00", "51.00", "52.00"))


def test_step_time_and_flops_stand_among_the_costs_where_they_were_measured(tmp_path: Path) -> None:
    for seed, step in enumerate((0.25, 0.2625)):
        measured = factory.transfer("simmim", seed, seconds_per_step=step, flops_per_image=15_437_500_000.0)
        factory.write(tmp_path / "new", measured)
    older = factory.transfer("supervised")
    factory.write(tmp_path / "old", older)
    both = board(tmp_path)
    assert {"Time per step (ms)", "GFLOPs per image"} <= set(titles(both, "settings"))
    measured_line, older_line = csv.DictReader(io.StringIO(to_csv(both)))
    assert (measured_line["step_milliseconds"], measured_line["gflops_per_image"]) == ("256.2", "15.438")
    assert (older_line["step_milliseconds"], older_line["gflops_per_image"]) == ("", "")
    assert "GFLOPs" not in to_text(board(tmp_path / "old"))


def test_tables_have_the_best_epoch_of_the_leading_metric_alone(tmp_path: Path) -> None:
    factory.write(tmp_path, factory.transfer("simmim"))
    found = board(tmp_path)
    assert "top1 best epoch (%)" in titles(found, "scores")
    assert "top5 best epoch (%)" in titles(found, "provenance")
    assert "99.50" in to_csv(found)
