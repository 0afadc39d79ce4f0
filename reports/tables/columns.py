"""The table's columns. Adding one is one entry here: title, fields, values, block.

`parts` formats every number once; all formats are made from these strings.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from benchmarks.history import in_words
from benchmarks.runs.record import RunRecord
from benchmarks.verbs.result import says_something
from reports.leaderboard.lines import COST, Measured
from reports.leaderboard.section import Section
from reports.records.ancestry import Budget
from reports.records.architectures import architecture_name
from reports.records.rows import Row
from reports.tables import cells
from reports.tables.cells import Parts, each, fixed
from reports.tables.column import Column, Field, differing_column, rare_column, row_column, written
from reports.tables.plugin_columns import plugin_columns
from reports.tables.score_columns import (
    delta_column,
    holm_column,
    metric_columns,
    number_of_classes,
    published_column,
)


def columns_for(section: Section, baseline: str | None, *, holm: bool = False) -> list[Column]:
    """Return the columns of a task's table; the delta is there when a baseline was named.

    Of the optional metrics only those that a run measured have columns. Rare columns are there where a row has
    something in them, differing ones where rows differ. Budgets are there where a record states one, and pretrainings'
    steps where several were timed.
    """
    task, measured = section.task, section.measured
    primary = task.primary
    others = [metric for metric in task.metrics if metric.name != primary.name]
    shown = [primary, *(metric for metric in others if metric.name in measured or not metric.optional)]
    scores = [column for metric in shown for column in metric_columns(metric, leading=metric is primary)]
    deltas = [delta_column(primary, baseline)] if baseline is not None else []
    deltas += [holm_column(primary, baseline)] if baseline is not None and holm else []
    settings = [*SETTINGS, *(BUDGET if section.budgeted else ()), *COSTS]
    settings += [PRETRAINING_COST] if section.costs else []
    classes = number_of_classes(section)
    scores = [one if says_something(one.title, classes) else replace(one, block="provenance") for one in scores]
    columns = [KIND, TASK, ENCODER, *scores, published_column(primary), *deltas, *settings, *PROVENANCE]
    columns += plugin_columns({field.name for column in columns for field in column.fields})
    return [column for column in columns if column.is_shown(section.entries)]


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
    "Encoder",
    (Field("encoder"),),
    lambda entry: (entry.name,),
    "scores",
    published=lambda result: (result.name,),
    leading=True,
)


def _join_start(method: str, stage: str) -> str:
    if not stage:
        return f"{method} (start not stated)"
    return stage if method == stage else f"{method} ({stage})"


def _of_budget(title: str, field: Field, value: Callable[[Budget], str], *, optional: bool = False) -> Column:
    def parts(entry: Measured) -> Parts:
        return (value(entry.budget) if entry.budget else "",)

    number = field.type is not str
    return Column(title, (field,), parts, "settings", written(field), numeric=number, optional=optional, leading=number)


BUDGET = [
    _of_budget("Pretraining data", Field("pretraining_data"), cells.pretraining_data),
    _of_budget("Images seen in all", Field("images_seen", int), lambda budget: fixed(budget.images_seen, 0)),
    _of_budget("GPU hours in all", Field("gpu_hours_in_all", float), lambda b: cells.hours(b.gpu_hours), optional=True),
    _of_budget("Epochs x images", Field("history"), lambda budget: in_words(budget.stages)),
]
"""Only where a record states what its encoder was trained on."""


def _pretrainings(entry: Measured) -> str:
    seeds = ["/".join(map(str, each)) for each in entry.row.pretrainings]
    return f"{len(seeds)} (seeds {', '.join(seeds)})" if entry.row.nested else ""


SETTINGS = [
    Column(
        "Start",
        (Field("method"), Field("init_stage")),
        lambda entry: (entry.row.encoder.method, entry.row.encoder.init_stage),
        "settings",
        _join_start,
        published=lambda result: (result.first.method, result.first.init_stage or ""),
        leading=True,
    ),
    rare_column("Collection", "collection", lambda entry: entry.row.collection),
    row_column("Loaded (%)", Field("load_coverage_percent", float), cells.coverage),
    rare_column("Parity", "load_parity", lambda entry: cells.parity(entry.row)),
    rare_column("Implausible weights", "implausible_weights", lambda entry: cells.implausible(entry.row)),
    row_column(
        "Architecture",
        Field("architecture"),
        lambda row: architecture_name(row.architecture),
        lambda result: result.first.backbone,
    ),
    row_column("Parameters (M)", Field("parameters_millions", float), cells.parameters_millions, optional=True),
    row_column(
        "Pretraining (epochs)",
        Field("pretrain_epochs", int),
        lambda row: "" if row.encoder.epochs is None else str(row.encoder.epochs),
        lambda result: result.first.pretrain_epochs,
    ),
    row_column(
        "Image (px)",
        Field("image_size_px", int),
        lambda row: str(row.conditions.image_size_px),
        lambda result: result.first.image_size_px,
    ),
    row_column(
        "Recipe",
        Field("recipe"),
        lambda row: row.recipe.name,
        lambda result: result.first.variant or result.first.protocol,
    ),
    differing_column("Images normalised by", "normalisation", cells.normalisation),
    differing_column("Test images", "test_images", cells.test_images),
    differing_column("Feature", "feature", lambda row: row.records[0].feature or ""),
    rare_column("Pretrainings", "pretrainings", _pretrainings),
    rare_column("Varied", "varied", lambda entry: entry.varied),
    rare_column("Chosen probe", "chosen_probe", lambda entry: each(cells.choice)(entry.row)),
    rare_column("Mark", "mark", lambda entry: entry.mark),
]

COSTS = [
    row_column(
        "GPU hours per run",
        Field("gpu_hours_per_run", float),
        lambda row: cells.hours(cells.mean_of(map(cells.gpu_hours, row.records))),
        optional=True,
    ),
    row_column(
        "Time per run (s)",
        Field("seconds_per_run", float),
        lambda row: cells.mean((record.seconds for record in row.records), 1),
        leading=True,
    ),
    row_column(
        "Images/s",
        Field("images_per_second", float),
        lambda row: cells.mean((record.images_per_second for record in row.records), 1),
    ),
    row_column(
        "Time per step (ms)",
        Field("step_milliseconds", float),
        lambda row: cells.mean(map(cells.step_milliseconds, row.records), 1),
        optional=True,
    ),
    row_column(
        "GFLOPs per image",
        Field("gflops_per_image", float),
        lambda row: cells.mean(map(cells.gflops_per_image, row.records), 3),
        optional=True,
    ),
    row_column("Runs", Field("runs", int), lambda row: str(len(row.runs))),
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


def _run_ids(row: Row) -> str:
    return "; ".join(f"{run.record.run_id} ({row.draw(run).words})" for run in row.runs)


def _shas(row: Row) -> str:
    return "; ".join(dict.fromkeys(run.encoder.sha256 or "" for run in row.runs))


def _unreadable(record: RunRecord) -> str:
    return str(len(record.data.unreadable)) if record.data.unreadable else ""


def _arguments(row: Row) -> str:
    arguments = row.architecture.arguments
    return json.dumps(arguments, ensure_ascii=False) if arguments else ""


def _provenance(title: str, field: str, value: Callable[[Row], str]) -> Column:
    return row_column(title, Field(field), value, block="provenance")


PROVENANCE = [
    _provenance("Runs, by seed", "run_ids", _run_ids),
    _provenance("Reproduce", "reproduce", each(cells.command)),
    _provenance("Parents", "parents", each(lambda record: ", ".join(record.parents))),
    _provenance("Encoder reference", "encoder_reference", lambda row: row.encoder.reference),
    _provenance("Encoder sha256", "encoder_sha256", _shas),
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
    row_column("Source", Field("source"), lambda _: "", lambda result: result.source, block="provenance"),
    row_column(
        "Read in the source",
        Field("verified"),
        lambda _: "",
        lambda result: "yes" if all(one.verified for one in result.references) else "no",
        block="provenance",
    ),
]
