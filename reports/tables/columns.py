"""The table's columns. Adding one is one entry here: title, fields, values, block.

`parts` formats every number once; all formats are made from these strings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from benchmarks.catalogue.tasks import Metric
from benchmarks.runs.record import RunRecord
from reports.leaderboard.board import Section
from reports.leaderboard.lines import COST, Line, Measured, Published
from reports.records.architectures import architecture_name
from reports.records.rows import Row
from reports.tables import cells
from reports.tables.cells import Parts, each, fixed
from reports.text import one_line

NONE = "–"  # noqa: RUF001 (an en dash: nothing to show)
Block = Literal["scores", "settings", "provenance"]
Value = str | float | int | None


class Field(NamedTuple):
    """One value of a row in the formats that programs read."""

    name: str
    type: type[str] | type[float] | type[int] = str

    def value(self, part: str) -> Value:
        """Return a part as a value; numbers have the digits that people see, and an empty part is None."""
        if self.type is str:
            return part
        return self.type(part) if part else None


@dataclass(frozen=True)
class Column:
    """One column. `fields` name each of `parts`; people see `join(*parts)`."""

    title: str
    fields: tuple[Field, ...]
    parts: Callable[[Measured], Parts]
    block: Block
    join: Callable[..., str] = lambda text: text
    published: Callable[[Published], Parts] | None = None
    """The parts of a published result; None: it has none."""
    numeric: bool = False
    """Whether the cell is a number, set flush right."""
    optional: bool = False
    """Whether text and pages leave it out of a table where no line has it."""

    def cell(self, line: Line) -> tuple[Parts, str]:
        """Return a line's parts, each on one line, and the text that people read, which is never empty."""
        if isinstance(line, Measured):
            parts = self.parts(line)
        else:
            parts = self.published(line) if self.published else ("",) * len(self.fields)
        parts = tuple(map(one_line, parts))
        return parts, self.join(*parts) or NONE


def columns_for(section: Section, baseline: str | None) -> list[Column]:
    """Return the columns of a task's table; the delta is there when a baseline was named.

    Of the optional metrics only those that a run measured have columns. Marks, what was published of a row's setting,
    and pretrainings' steps have one where a row has such.
    """
    task, measured = section.task, section.measured
    primary = task.metric(task.primary_metric)
    others = [metric for metric in task.metrics if metric.name != primary.name]
    shown = [primary, *(metric for metric in others if metric.name in measured or not metric.optional)]
    scores = [column for metric in shown for column in _metric_columns(metric, leading=metric is primary)]
    deltas = [_delta_column(primary, baseline)] if baseline is not None else []
    published = [_published_column(primary)] if section.has_published_settings else []
    settings = [column for column in SETTINGS if section.marked or column is not MARK]
    settings += [PRETRAINING_COST] if section.costs else []
    return [KIND, TASK, ENCODER, *scores, *published, *deltas, *settings, *PROVENANCE]


def _metric_columns(metric: Metric, *, leading: bool) -> list[Column]:
    """Return last and best epoch; tables have room for the best of the `leading` metric alone."""
    name, unit = metric.name, metric.unit
    lower = "" if metric.higher_is_better else ", lower is better"
    last: Block = "scores" if metric.in_tables else "provenance"
    best: Block = "scores" if leading else "provenance"
    return [
        Column(
            f"{name} last epoch ({unit}{lower})",
            (Field(f"{name}_last_mean", float), Field(f"{name}_last_std", float), Field(f"{name}_last_n", int)),
            lambda entry: cells.spread_parts(entry.row.last(name)),
            last,
            cells.join_spread,
            published=lambda result: (result.value(name), "", ""),
            numeric=True,
        ),
        Column(
            f"{name} best epoch ({unit})",
            (Field(f"{name}_best_mean", float),),
            lambda entry: cells.spread_parts(entry.row.best(name))[:1],
            best,
            numeric=True,
            optional=True,
        ),
    ]


def _published_column(metric: Metric) -> Column:
    """Return what others report of a row's own setting, and where."""

    def parts(entry: Measured) -> Parts:
        places = dict.fromkeys(f"{one.source} ({one.locator})" for one in entry.same_setting)
        return (", ".join(dict.fromkeys(str(one.value) for one in entry.same_setting)), "; ".join(places))

    fields = (Field(f"{metric.name}_published"), Field("published_source"))
    return Column(
        f"{metric.name} published ({metric.unit})", fields, parts, "scores", lambda value, _: value, numeric=True
    )


def _delta_column(metric: Metric, baseline: str) -> Column:
    def parts(entry: Measured) -> Parts:
        comparison = entry.comparison
        low, high = comparison.interval[:2] if comparison.interval else (None, None)
        numbers = (fixed(number, 2, "+") for number in (comparison.delta, low, high))
        return (*numbers, comparison.note, baseline)

    unit = "points" if metric.unit == "%" else metric.unit
    numbers = (f"{metric.name}_delta", f"{metric.name}_delta_low", f"{metric.name}_delta_high")
    fields = (*(Field(name, float) for name in numbers), Field("delta_note"), Field("baseline"))
    title = f"Δ {metric.name} to {baseline} ({unit}), 95 % interval"
    return Column(
        title,
        fields,
        parts,
        "scores",
        cells.join_delta,
        published=lambda result: ("", "", "", result.comparison.note, ""),
    )


def _column(
    title: str,
    field: Field,
    value: Callable[[Row], str],
    published: Callable[[Published], object] | None = None,
    *,
    block: Block = "settings",
    optional: bool = False,
) -> Column:
    """Return a column of one field; `published` takes it from a published result, None where that does not have it."""

    def of_row(entry: Measured) -> Parts:
        return (value(entry.row),)

    def of_published(result: Published) -> Parts:
        found = published(result) if published else None
        return ("" if found is None else str(found),)

    number = field.type is not str
    return Column(title, (field,), of_row, block, published=of_published, numeric=number, optional=optional)


KIND = Column(
    "Kind", (Field("kind"),), lambda entry: (entry.kind,), "provenance", published=lambda result: (result.kind,)
)

TASK = Column(
    "Task",
    (Field("task"), Field("task_version", int)),
    lambda entry: (entry.row.task, str(entry.row.conditions.task_version)),
    "provenance",
    lambda name, version: f"{name}, version {version}" if version else name,
    published=lambda result: (result.first.task, ""),
)

ENCODER = Column(
    "Encoder", (Field("encoder"),), lambda entry: (entry.name,), "scores", published=lambda result: (result.name,)
)


def _join_start(method: str, stage: str) -> str:
    if not stage:
        return f"{method} (start not told)"
    return stage if method == stage else f"{method} ({stage})"


MARK = _column("Mark", Field("mark"), lambda row: row.recipe.misfit or "")
"""Only where a recipe is for other encoders than the one that it was given."""

SETTINGS = [
    Column(
        "Start",
        (Field("method"), Field("init_stage")),
        lambda entry: (entry.row.encoder.method, entry.row.encoder.init_stage),
        "settings",
        _join_start,
        published=lambda result: (result.first.method, result.first.init_stage or ""),
    ),
    _column("Loaded (%)", Field("load_coverage_percent", float), cells.coverage),
    _column(
        "Architecture",
        Field("architecture"),
        lambda row: architecture_name(row.architecture),
        lambda result: result.first.backbone,
    ),
    _column("Parameters (M)", Field("parameters_millions", float), cells.parameters_millions, optional=True),
    _column(
        "Pretraining (epochs)",
        Field("pretrain_epochs", int),
        lambda row: "" if row.encoder.epochs is None else str(row.encoder.epochs),
        lambda result: result.first.pretrain_epochs,
    ),
    _column(
        "Image (px)",
        Field("image_size_px", int),
        lambda row: str(row.conditions.image_size_px),
        lambda result: result.first.image_size_px,
    ),
    _column(
        "Recipe",
        Field("recipe"),
        lambda row: row.recipe.name,
        lambda result: result.first.variant or result.first.protocol,
    ),
    MARK,
    _column(
        "GPU hours per run",
        Field("gpu_hours_per_run", float),
        lambda row: cells.mean(map(cells.gpu_hours, row.records), 2),
        optional=True,
    ),
    _column(
        "Time per run (s)",
        Field("seconds_per_run", float),
        lambda row: cells.mean((record.seconds for record in row.records), 1),
    ),
    _column(
        "Images/s",
        Field("images_per_second", float),
        lambda row: cells.mean((record.images_per_second for record in row.records), 1),
    ),
    _column(
        "Time per step (ms)",
        Field("step_milliseconds", float),
        lambda row: cells.mean(map(cells.step_milliseconds, row.records), 1),
        optional=True,
    ),
    _column(
        "GFLOPs per image",
        Field("gflops_per_image", float),
        lambda row: cells.mean(map(cells.gflops_per_image, row.records), 3),
        optional=True,
    ),
    _column("Runs", Field("runs", int), lambda row: str(len(row.runs))),
]


def _cost_parts(entry: Measured) -> Parts:
    record = entry.pretraining
    step = None if record is None else cells.step_milliseconds(record)
    return ("" if step is None else fixed(step, 1), fixed(entry.pretraining_cost, 2))


def _join_cost(step: str, cost: str) -> str:
    times = f"{cost}x" if cost else ""
    return f"{step} ({times})" if step and times else step or times


PRETRAINING_COST = Column(
    "Pretraining step (ms), to the baseline's",
    (Field("pretraining_step_milliseconds", float), Field("pretraining_cost", float)),
    _cost_parts,
    "settings",
    _join_cost,
    published=lambda result: ("", result.value(COST)),
)
"""Measured times beside the relative costs that sources publish."""


def _peak(record: RunRecord) -> str:
    return "" if record.peak_memory_mb is None else fixed(record.peak_memory_mb, 0)


def _unreadable(record: RunRecord) -> str:
    return str(len(record.data.unreadable)) if record.data.unreadable else ""


def _arguments(row: Row) -> str:
    arguments = row.architecture.arguments
    return json.dumps(arguments, ensure_ascii=False) if arguments else ""


def _provenance(title: str, field: str, value: Callable[[Row], str]) -> Column:
    return _column(title, Field(field), value, block="provenance")


PROVENANCE = [
    _provenance("Runs, by seed", "run_ids", each(lambda record: f"{record.run_id} (seed {record.seed})")),
    _provenance("Reproduce", "reproduce", each(cells.command)),
    _provenance("Parents", "parents", each(lambda record: ", ".join(record.parents))),
    _provenance("Encoder reference", "encoder_reference", lambda row: row.encoder.reference),
    _provenance("Encoder sha256", "encoder_sha256", lambda row: row.encoder.sha256 or ""),
    _provenance("timm model", "timm_model", lambda row: row.architecture.name),
    _provenance("timm arguments", "timm_arguments", _arguments),
    _provenance("Load report", "load_report", each(lambda record: cells.load(record.load_report))),
    _provenance("Recipe digest", "recipe_digest", lambda row: row.recipe.digest),
    _provenance("Overrides", "overrides", each(lambda record: " ".join(record.recipe.overrides))),
    _provenance("Data", "data_fingerprint", lambda row: row.conditions.fingerprint),
    _provenance("Unreadable images skipped", "unreadable_images", each(_unreadable)),
    _provenance("Commit", "git_commit", each(lambda record: record.environment.git_commit or "")),
    _provenance("Software", "software", each(cells.software)),
    _provenance("Device", "device", each(lambda record: record.environment.device)),
    _provenance("Processes", "processes", each(lambda record: str(record.processes))),
    _provenance("Host", "host", each(lambda record: record.environment.host)),
    _provenance("Peak memory (MB)", "peak_memory_mb", each(_peak)),
    _provenance("Attempts", "attempts", each(lambda record: str(record.attempts))),
    _provenance("Finished", "finished_at", each(lambda record: record.finished_at or "")),
    _column("Source", Field("source"), lambda _: "", lambda result: result.source, block="provenance"),
    _column(
        "Read in the source",
        Field("verified"),
        lambda _: "",
        lambda result: "yes" if all(one.verified for one in result.references) else "no",
        block="provenance",
    ),
]
