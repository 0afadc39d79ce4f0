"""The columns of scores: a metric's last and best epoch, what was published of it, the difference to the baseline."""

from __future__ import annotations

from benchmarks.catalogue.metrics import Metric
from benchmarks.runs.folder import RunFolder
from reports.leaderboard.lines import Measured
from reports.leaderboard.section import Section
from reports.tables import cells
from reports.tables.cells import Parts
from reports.tables.column import Block, Column, Field


def metric_columns(metric: Metric, *, leading: bool) -> list[Column]:
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
            leading=leading,
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


def published_column(metric: Metric) -> Column:
    """Return what others report of a row's own setting, and where."""

    def parts(entry: Measured) -> Parts:
        places = dict.fromkeys(f"{one.source} ({one.locator})" for one in entry.same_setting)
        return (", ".join(dict.fromkeys(str(one.value) for one in entry.same_setting)), "; ".join(places))

    fields = (Field(f"{metric.name}_published"), Field("published_source"))
    title = f"{metric.name} published ({metric.unit})"
    return Column(title, fields, parts, "scores", lambda value, _: value, numeric=True, rare=True, leading=True)


def holm_column(metric: Metric, baseline: str) -> Column:
    """Return the p of the difference of a metric to the baseline, corrected by Holm for all of the table."""

    def parts(entry: Measured) -> Parts:
        return (cells.p_value(entry.p_holm),)

    title = f"p of Δ {metric.name} to {baseline}, by Holm"
    return Column(title, (Field(f"{metric.name}_delta_p_holm"),), parts, "scores", numeric=True, leading=True)


def delta_column(metric: Metric, baseline: str) -> Column:
    """Return the difference of a metric to the baseline, with its interval."""

    def parts(entry: Measured) -> Parts:
        return (*cells.delta_parts(entry.comparison), baseline)

    unit = "points" if metric.unit == "%" else metric.unit
    numbers = (f"{metric.name}_delta", f"{metric.name}_delta_low", f"{metric.name}_delta_high")
    method = Field(f"{metric.name}_delta_method")
    fields = (*(Field(name, float) for name in numbers), method, Field("delta_note"), Field("baseline"))
    title = f"Δ {metric.name} to {baseline} ({unit}), 95 % interval"
    return Column(
        title,
        fields,
        parts,
        "scores",
        lambda *parts: cells.join_delta(*parts[:5]),  # the baseline stands in the title
        published=lambda result: ("", "", "", "", result.comparison.note, ""),
        leading=True,
    )


def number_of_classes(section: Section) -> int | None:
    """Return how many classes a task has: as the catalogue says, or else as one run's file of classes has."""
    classes = section.task.num_classes
    if classes is None and section.entries:
        classes = RunFolder(section.entries[0].row.first.folder).number_of_classes
    return classes
