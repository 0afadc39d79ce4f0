"""Charts of one quantity against another: gain by model size, score by cost, score by a cheap signal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.catalogue.metrics import Metric
from benchmarks.catalogue.published import GOOD_AVG_DIST_PX
from benchmarks.history import TrainingStage
from reports.charts.figures import MOST_ROWS, Look, add_legend, height_under_legend, looks, new_axes, score_text, short
from reports.charts.svg import INK, Chart, inline
from reports.compare.early_verdict import Verdict
from reports.compare.score_difference import methods
from reports.leaderboard.lines import Measured
from reports.leaderboard.section import Group, Section
from reports.tables.cells import fixed
from reports.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RING = Look(INK, "o", "-")
BAR: dict[str, Any] = {"ms": 7, "elinewidth": 1.6, "capsize": 4, "capthick": 1.6, "linestyle": "none", "zorder": 4}


class Gain(NamedTuple):
    """A difference to the baseline at the size of the model; `below` and `above` are how far its interval reaches."""

    entry: Measured
    parameters_millions: float
    delta: float
    below: float
    above: float


def gain_by_size(sections: Sequence[Section], baseline: str | None) -> list[Chart]:
    """Return the chart of differences to the baseline by model size, a series for each task and encoder."""
    series: dict[str, list[Gain]] = {}
    for section in sections:
        for entry in section.entries:
            if (point := _gain(entry)) is not None:
                series.setdefault(f"{short(entry.row.encoder.label)}, {section.task.name}", []).append(point)
    shown = {name: points for name, points in series.items() if len({p.parameters_millions for p in points}) > 1}
    if not shown:
        return []
    figure, axes = new_axes(height_under_legend(list(shown)) + 0.2)
    for (name, points), look in zip(shown.items(), looks(), strict=False):
        _gain_series(axes, name, points, look)
    axes.axhline(0, color=INK, linewidth=0.9, dashes=(3, 3), alpha=0.6, zorder=1)
    axes.set_xscale("log")
    ticks = sorted({point.parameters_millions for points in shown.values() for point in points})
    axes.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("parameters of the encoder (M)")
    axes.set_ylabel(f"gain over {short(baseline or '')} (points)")
    add_legend(figure, list(shown))
    title = one_line(f"Gain over {baseline} by model size")
    description = "; ".join(
        f"{name} {point.parameters_millions:.0f} M {point.delta:+.2f}"
        for name, points in shown.items()
        for point in points
    )
    found = methods(point.entry.comparison for points in shown.values() for point in points)
    caption = "Mean difference over seeds, like for like; "
    caption += f"bars are its 95 % interval ({found})." if found else "no seeds allow an interval."
    return [Chart(title, caption, inline(figure, "chart-gain", title, one_line(description)))]


def _gain(entry: Measured) -> Gain | None:
    comparison, reports = entry.comparison, [record.load_report for record in entry.row.records]
    parameters = reports[0].parameters if reports and reports[0] else None
    if comparison.delta is None or parameters is None:
        return None
    low, high = comparison.interval[:2] if comparison.interval else (comparison.delta, comparison.delta)
    return Gain(entry, parameters / 1e6, comparison.delta, comparison.delta - low, high - comparison.delta)


def _gain_series(axes: Axes, name: str, points: Sequence[Gain], look: Look) -> None:
    ordered = sorted(points, key=lambda point: point.parameters_millions)
    x, y = [point.parameters_millions for point in ordered], [point.delta for point in ordered]
    bars = [[point.below for point in ordered], [point.above for point in ordered]]
    axes.plot(x, y, color=look.colour, linestyle=look.dash, linewidth=1.2, zorder=2)
    axes.errorbar(x, y, yerr=bars, fmt=look.marker, color=look.colour, label=name, **BAR)


def score_by_cost(
    group: Group, entries: Sequence[Measured], metric: Metric, styles: Mapping[str, Look], name: str
) -> list[Chart]:
    """Return the chart of score against cost, every training before included; none where all cost the same."""
    on_gpu = all(_on_gpu(stage) for entry in entries for stage in _stages(entry) if stage.seconds is not None)
    hours = [math.fsum(_hours(stage, on_gpu) for stage in _stages(entry)) for entry in entries]
    brief = max(hours, default=0.0) < SHORTEST_HOURS
    unit = f"{'GPU ' if on_gpu else ''}{'seconds' if brief else 'hours'}"
    costs = [(entry, 3600 * cost if brief else cost) for entry, cost in zip(entries, hours, strict=True)]
    title = one_line(f"{metric.name} against cost, recipe {group.recipe}")
    label = f"{unit} of one run, with the trainings before it where they are known"
    caption = f"{SPREAD} Time counts all attempts, set-up included."
    drawn = _Against(title, label, unit, caption, f"{name}-cost", 0 if brief else 2)
    return _score_against(drawn, costs, metric, styles)


def score_by_budget(
    group: Group, entries: Sequence[Measured], metric: Metric, styles: Mapping[str, Look], name: str
) -> list[Chart]:
    """Return the chart of score against images seen; none where all saw the same number, or it is not known."""
    seen = [(entry, entry.budget.images_seen if entry.budget else None) for entry in entries]
    largest = max((images for _, images in seen if images is not None), default=0.0)
    unit, size = next(each for each in UNITS if largest >= each[1] or each[1] == 1)
    budgets = [(entry, images / size) for entry, images in seen if images is not None]
    without = [entry.name for entry, images in seen if images is None]
    caption = f"{SPREAD} Images seen are epochs x images, added up over pretraining, earlier trainings and this one."
    caption += f" Not known for {', '.join(without)}." if without else ""
    title = one_line(f"{metric.name} against images seen, recipe {group.recipe}")
    label = f"images seen in all trainings{f' ({unit}s)' if unit else ''}"
    drawn = _Against(title, label, f"{unit} images".strip(), caption, f"{name}-budget", 3)
    return _score_against(drawn, budgets, metric, styles)


SHORTEST_HOURS = 0.5
"""Where every cost is less, the chart has seconds."""
SPREAD = "Mean, with one sample standard deviation to each side."
UNITS = (("billion", 1e9), ("million", 1e6), ("thousand", 1e3), ("", 1.0))


class _Against(NamedTuple):
    """How a chart of score against what was spent is called."""

    title: str
    label: str
    unit: str
    caption: str
    name: str
    decimals: int


def _score_against(
    drawn: _Against, spent: Sequence[tuple[Measured, float]], metric: Metric, styles: Mapping[str, Look]
) -> list[Chart]:
    if len({round(amount, 6) for _, amount in spent}) < 2:
        return []
    names = [entry.name for entry, _ in spent]
    figure, axes = new_axes(height_under_legend(names))
    for entry, amount in spent:
        spread, look = entry.row.last(metric.name), styles[entry.name]
        assert spread is not None, "a row without its primary metric is left out before"
        axes.errorbar(
            amount, spread.mean, yerr=spread.std, fmt=look.marker, color=look.colour, label=short(entry.name), **BAR
        )
    axes.set_xlim(left=-0.03 * axes.get_xlim()[1])  # from zero, with room for a marker that stands there
    axes.set_xlabel(drawn.label)
    axes.set_ylabel(f"{metric.name} ({metric.unit})")
    add_legend(figure, names)
    description = "; ".join(
        f"{entry.name} {score_text(entry, metric)} at {fixed(amount, drawn.decimals)} {drawn.unit}"
        for entry, amount in spent
    )
    picture = inline(figure, drawn.name, drawn.title, one_line(description))
    return [Chart(drawn.title, one_line(drawn.caption), picture)]


def _stages(entry: Measured) -> tuple[TrainingStage, ...]:
    assert entry.budget is not None, "a leaderboard gives every row its budget"
    return entry.budget.stages


def _on_gpu(stage: TrainingStage) -> bool:
    return stage.gpus != 0


def _hours(stage: TrainingStage, on_gpu: bool) -> float:
    """Return the hours of a training, 0 where they are not known."""
    hours = stage.gpu_hours if on_gpu else None
    return (stage.seconds or 0.0) / 3600 if hours is None else hours


SIGNALS = {"masked_loss": "held-out masked loss of the pretraining", "avg_dist_px": "AvgDist of the pretraining (px)"}
"""Signals whose missing charts are named, and the labels of their axes; others are labelled by their words."""
PAIRS_DRAWN = 3
"""The least number of encoders with both numbers that a chart needs."""


def score_by_signal(verdicts: Sequence[Verdict], styles: Mapping[str, Look], number: int) -> list[Chart]:
    """Return a chart for every cheap signal that enough encoders have."""
    drawn = (verdict for verdict in verdicts if len(verdict.pairs) >= PAIRS_DRAWN)
    return [_signal_chart(verdict, styles, f"chart-{number}-signal-{place}") for place, verdict in enumerate(drawn)]


def _signal_chart(verdict: Verdict, styles: Mapping[str, Look], name: str) -> Chart:
    label = SIGNALS.get(verdict.signal.kind, verdict.signal.words)
    names = [pair.name for pair in verdict.pairs] if len(verdict.pairs) <= MOST_ROWS else []
    figure, axes = new_axes(height_under_legend(names))
    for pair in verdict.pairs:
        look = styles[pair.name] if names else RING
        bar = {**BAR, "ms": 6, "mfc": "none" if look is RING else look.colour}
        marker, known = look.marker, short(pair.name) if names else None
        axes.errorbar(pair.signal, pair.score, yerr=pair.deviation, fmt=marker, color=look.colour, label=known, **bar)
    axes.set_xlabel(one_line(label))
    axes.set_ylabel(verdict.score)
    caption = f"{'One marker' if names else 'One ring'} per encoder, its mean over seeds; bars are one deviation."
    if verdict.signal.kind == "avg_dist_px":
        caption += _ridge(axes)
    if names:
        add_legend(figure, names)
    title = one_line(f"{verdict.score.split()[0]} against {label}, {verdict.among}")
    description = "; ".join(f"{pair.name} {pair.signal:g} {pair.score:.2f}" for pair in verdict.pairs)
    return Chart(title, one_line(f"{caption} {verdict.words}."), inline(figure, name, title, one_line(description)))


def _ridge(axes: Axes) -> str:
    """Shade the part of the paper's good distances that lies in view; return the caption's sentence about it."""
    left, right = axes.get_xlim()
    low, high = max(left, GOOD_AVG_DIST_PX[0]), min(right, GOOD_AVG_DIST_PX[1])
    good = f"SimMIM did best at {GOOD_AVG_DIST_PX[0]} to {GOOD_AVG_DIST_PX[1]} px, on images of 192 px"
    if low >= high:
        return f" {good}, outside this chart."
    axes.axvspan(low, high, color=INK, alpha=0.08, linewidth=0)
    axes.set_xlim(left, right)
    return f" Shaded: {good}."
