"""The table's columns. Adding one is one entry here: title, CSV fields, values, block.

`parts` formats every number once; text, Markdown, CSV and HTML are made of these very strings.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from benchmarks.config import digest_of, recipe_names
from benchmarks.encoders import Architecture, find_architecture
from benchmarks.record import LoadReport, RunRecord
from benchmarks.tasks import Metric, Task
from reports.compare import Comparison
from reports.rows import Row, Spread
from reports.text import count, one_line

NONE = "–"  # noqa: RUF001 (an en dash: nothing to show)
Block = Literal["scores", "settings", "provenance"]


@dataclass(frozen=True)
class Entry:
    """A row as a table shows it: with its name and its comparison."""

    row: Row
    name: str
    comparison: Comparison


Parts = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """One column. `fields` are its CSV headers, one for each of `parts`; people see `join(*parts)`."""

    title: str
    fields: tuple[str, ...]
    parts: Callable[[Entry], Parts]
    block: Block
    join: Callable[..., str] = lambda text: text
    numeric: bool = False

    def text(self, entry: Entry) -> str:
        """Return the cell as people read it: one line, never empty."""
        return one_line(self.join(*self.parts(entry))) or NONE


def columns_for(task: Task, baseline: str | None, measured: Collection[str]) -> list[Column]:
    """Return the columns of a task's table; the delta is there when a baseline was named.

    Of the optional metrics only those `measured` have columns.
    """
    primary = task.metric(task.primary_metric)
    others = [metric for metric in task.metrics if metric.name != primary.name]
    shown = [primary, *(metric for metric in others if metric.name in measured or not metric.optional)]
    scores = [column for metric in shown for column in _metric_columns(metric)]
    deltas = [_delta_column(primary, baseline)] if baseline is not None else []
    return [TASK, ENCODER, *scores, *deltas, *SETTINGS, *PROVENANCE]


def _column(title: str, field: str, block: Block, value: Callable[[Row], str], numeric: bool = False) -> Column:
    return Column(title, (field,), lambda entry: (value(entry.row),), block, numeric=numeric)


def fixed(value: float | None, decimals: int, sign: str = "") -> str:
    """Format a number with `decimals` places; None is empty, and minus zero is zero."""
    return "" if value is None else f"{value:{sign}z.{decimals}f}"


# Scores


def _metric_columns(metric: Metric) -> list[Column]:
    name, unit = metric.name, metric.unit
    lower = "" if metric.higher_is_better else ", lower is better"
    last: Block = "scores" if metric.in_tables else "provenance"
    best: Block = "scores" if metric.in_tables and not metric.optional else "provenance"
    return [
        Column(
            f"{name} last epoch ({unit}{lower})",
            (f"{name}_last_mean", f"{name}_last_std", f"{name}_last_n"),
            lambda entry: spread_parts(entry.row.last(name)),
            last,
            join_spread,
            numeric=True,
        ),
        Column(
            f"{name} best epoch ({unit})",
            (f"{name}_best_mean",),
            lambda entry: spread_parts(entry.row.best(name))[:1],
            best,
            numeric=True,
        ),
    ]


def spread_parts(spread: Spread | None) -> Parts:
    if spread is None:
        return ("", "", "")
    return (fixed(spread.mean, 2), fixed(spread.std, 2), str(spread.n))


def join_spread(mean: str, std: str, n: str) -> str:
    """Write mean, deviation and n: `93.52 ± 0.41 (n = 3)`; one run has no deviation, so none is shown."""
    return f"{mean} ± {std} (n = {n})" if std else mean and f"{mean} (n = {n})"


def _delta_column(metric: Metric, baseline: str) -> Column:
    def parts(entry: Entry) -> Parts:
        comparison = entry.comparison
        low, high = comparison.interval[:2] if comparison.interval else (None, None)
        numbers = (fixed(number, 2, "+") for number in (comparison.delta, low, high))
        return (*numbers, comparison.note, baseline)

    unit = "points" if metric.unit == "%" else metric.unit
    fields = (f"{metric.name}_delta", f"{metric.name}_delta_low", f"{metric.name}_delta_high", "delta_note", "baseline")
    title = f"Δ {metric.name} to {baseline} ({unit}), 95 % interval"
    return Column(title, fields, parts, "scores", _join_delta)


def _join_delta(delta: str, low: str, high: str, note: str, _: str) -> str:
    interval = f"{delta} [{low}, {high}]" if low else delta
    return ", ".join(part for part in (interval, note) if part)


# Identity and settings


@cache
def _named_architectures() -> dict[str, str]:
    return {digest_of(find_architecture(name)): name for name in recipe_names("encoders")}


def architecture_name(architecture: Architecture) -> str:
    """Return our own name for an architecture where we have one, else timm's with a mark of its arguments.

    The image size has a column of its own and does not make another architecture.
    """
    others = {name: value for name, value in architecture.arguments.items() if name != "img_size"}
    architecture = Architecture(name=architecture.name, arguments=others)
    digest = digest_of(architecture)
    if digest in _named_architectures():
        return _named_architectures()[digest]
    if not architecture.arguments:
        return architecture.name
    return f"{architecture.name} ({count(len(architecture.arguments), 'argument')}, {digest[:6]})"


def _coverage(row: Row) -> str:
    reports = [record.load_report for record in row.records if record.load_report]
    if row.encoder.init_stage == "random" or not reports:
        return ""
    return fixed(min(report.coverage_percent for report in reports), 2)


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return fixed(statistics.fmean(known), 1) if known else ""


TASK = Column(
    "Task",
    ("task", "task_version"),
    lambda entry: (entry.row.task, str(entry.row.conditions.task_version)),
    "provenance",
    lambda name, version: f"{name}, version {version}",
)

ENCODER = Column("Encoder", ("encoder",), lambda entry: (entry.name,), "scores")

SETTINGS = [
    Column(
        "Start",
        ("method", "init_stage"),
        lambda entry: (entry.row.encoder.method, entry.row.encoder.init_stage),
        "settings",
        lambda method, stage: stage if method == stage else f"{method} ({stage})",
    ),
    _column("Architecture", "architecture", "settings", lambda row: architecture_name(row.architecture)),
    _column(
        "Pretraining (epochs)",
        "pretrain_epochs",
        "settings",
        lambda row: "" if row.encoder.epochs is None else str(row.encoder.epochs),
        numeric=True,
    ),
    _column("Image (px)", "image_size_px", "settings", lambda row: str(row.conditions.image_size_px), numeric=True),
    _column("Recipe", "recipe", "settings", lambda row: row.recipe.name),
    _column("Loaded (%)", "load_coverage_percent", "settings", _coverage, numeric=True),
    _column(
        "Time per run (s)",
        "seconds_per_run",
        "settings",
        lambda row: _mean(record.seconds for record in row.records),
        numeric=True,
    ),
    _column(
        "Images/s",
        "images_per_second",
        "settings",
        lambda row: _mean(record.images_per_second for record in row.records),
        numeric=True,
    ),
    _column("Runs", "runs", "settings", lambda row: str(len(row.runs)), numeric=True),
]


# Provenance


def _each(value: Callable[[RunRecord], str]) -> Callable[[Row], str]:
    """Return the runs' values, each named once; where they differ, all of them in the order of the seeds."""

    def joined(row: Row) -> str:
        return "; ".join(dict.fromkeys(filter(None, map(value, row.records))))

    return joined


def _load(report: LoadReport | None) -> str:
    if report is None:
        return ""
    words = f"{report.source_format}: {report.loaded} of {report.expected} tensors"
    words += f", {fixed(report.coverage_percent, 2)} % of the parameters"
    resized = [f"{one.name} {one.from_shape} to {one.to_shape} ({one.mode})" for one in report.resized]
    return words + (f", resized: {', '.join(resized)}" if resized else "")


def _environment(record: RunRecord) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in record.environment.packages.items())
    return f"Python {record.environment.python}, {packages}"


def _peak(record: RunRecord) -> str:
    return "" if record.peak_memory_mb is None else fixed(record.peak_memory_mb, 0)


def _unreadable(record: RunRecord) -> str:
    return str(len(record.data.unreadable)) if record.data.unreadable else ""


PROVENANCE = [
    _column("Runs, by seed", "run_ids", "provenance", _each(lambda record: f"{record.run_id} (seed {record.seed})")),
    _column("Parents", "parents", "provenance", _each(lambda record: ", ".join(record.parents))),
    _column("Encoder reference", "encoder_reference", "provenance", lambda row: row.encoder.reference),
    _column("Encoder sha256", "encoder_sha256", "provenance", lambda row: row.encoder.sha256 or ""),
    _column("timm model", "timm_model", "provenance", lambda row: row.architecture.name),
    _column(
        "timm arguments",
        "timm_arguments",
        "provenance",
        lambda row: json.dumps(row.architecture.arguments, ensure_ascii=False) if row.architecture.arguments else "",
    ),
    _column("Load report", "load_report", "provenance", _each(lambda record: _load(record.load_report))),
    _column("Recipe digest", "recipe_digest", "provenance", lambda row: row.recipe.digest),
    _column("Overrides", "overrides", "provenance", _each(lambda record: " ".join(record.recipe.overrides))),
    _column("Data", "data_fingerprint", "provenance", lambda row: row.conditions.fingerprint),
    _column("Unreadable images skipped", "unreadable_images", "provenance", _each(_unreadable)),
    _column("Commit", "git_commit", "provenance", _each(lambda record: record.environment.git_commit or "")),
    _column("Software", "software", "provenance", _each(_environment)),
    _column("Device", "device", "provenance", _each(lambda record: record.environment.device)),
    _column("Host", "host", "provenance", _each(lambda record: record.environment.host)),
    _column("Peak memory (MB)", "peak_memory_mb", "provenance", _each(_peak)),
    _column("Attempts", "attempts", "provenance", _each(lambda record: str(record.attempts))),
    _column("Finished", "finished_at", "provenance", _each(lambda record: record.finished_at or "")),
]
