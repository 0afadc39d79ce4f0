"""A leaderboard's charts: means over seeds, learning curves, pretraining loss; `draw` makes them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.catalogue.metrics import Metric
from benchmarks.runs.find import FoundRun
from reports.charts.curves import Curve, loss_curve, score_curve
from reports.charts.figures import (
    MOST_GROUPS,
    MOST_ROWS,
    Look,
    add_legend,
    height_under_legend,
    looks,
    new_axes,
    score_text,
    short,
)
from reports.charts.scatter import PAIRS_DRAWN, SIGNALS, gain_by_size, score_by_budget, score_by_cost, score_by_signal
from reports.charts.svg import INK, PAPER, STYLE, Chart, inline
from reports.compare.score_difference import BASELINE
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.lines import Measured
from reports.leaderboard.section import Group, Section
from reports.text import count, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Charts:
    """The charts of a page: those of every section, in their order, and those of the whole study."""

    sections: list[list[Chart]]
    study: list[Chart]
    absent: tuple[str, ...]
    """Charts for which the records lack data, and what they would need, in words."""


class Series(NamedTuple):
    """A row as a chart draws it: its look, and its learning curve where one was logged."""

    entry: Measured
    look: Look
    curve: Curve | None


def draw(board: Leaderboard) -> Charts:
    """Return all charts that the records have the data for."""
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        names = [entry.name for section in board.sections for entry in section.entries]
        styles = dict(zip(dict.fromkeys(names), looks(), strict=False))
        sections = [_section_charts(section, number, styles) for number, section in enumerate(board.sections)]
        gains = gain_by_size(board.sections, board.request.baseline)
        losses = _loss_charts(board.pretrainings, _labels(board.sections), styles)
        return Charts(sections, [*gains, *losses], tuple(_absent(board, gains)))


def _absent(board: Leaderboard, gains: Sequence[Chart]) -> Iterator[str]:
    """Yield, in words, the charts for which the records lack data."""
    if not gains:
        needs = "encoders of several sizes under one label, each with a like-for-like baseline of its size"
        yield f"gain over the baseline by model size (needs {needs})"
    drawn = {one.signal.kind for section in board.sections for one in section.verdicts if len(one.pairs) >= PAIRS_DRAWN}
    for kind, words in SIGNALS.items():
        if kind not in drawn:
            needs = f"{PAIRS_DRAWN} like-for-like rows whose pretrainings are here and have measured {kind}"
            yield f"score against {words} (needs {needs})"


def _labels(sections: Sequence[Section]) -> dict[str, str]:
    """Return, by run id, the name of the encoder that came from a run."""
    entries = [entry for section in sections for entry in section.entries]
    return {
        parent: entry.name for entry in reversed(entries) for record in entry.row.records for parent in record.parents
    }


def _section_charts(section: Section, number: int, styles: Mapping[str, Look]) -> list[Chart]:
    metric = section.task.primary
    charts = []
    for place, group in enumerate(section.groups[:MOST_GROUPS]):
        name = f"chart-{number}-{place}"
        entries = chosen(group)
        curves = [score_curve(entry.row, metric.name) for entry in entries]
        lines = [Series(entry, styles[entry.name], curve) for entry, curve in zip(entries, curves, strict=True)]
        charts.append(_means(group, lines, metric, f"{name}-means"))
        if any(line.curve and len(line.curve.epochs) > 1 for line in lines):  # one evaluation is no curve
            charts.append(_score_curves(group, lines, metric, f"{name}-curves"))
        charts += score_by_cost(group, entries, metric, styles, name)
        charts += score_by_budget(group, entries, metric, styles, name) if section.budgeted else []
    return charts + score_by_signal(section.verdicts, styles, number)


def chosen(group: Group) -> list[Measured]:
    """Return the rows that charts show: the best, and the baseline wherever it stands."""
    best = group.entries[:MOST_ROWS]
    return [*best, *(entry for entry in group.entries[MOST_ROWS:] if entry.comparison is BASELINE)]


def _of_all(group: Group, lines: Sequence[Series]) -> str:
    return f" The best {MOST_ROWS} of {len(group.entries)} rows." if len(lines) < len(group.entries) else ""


def _epochs(axes: Axes, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


# Means


def _means(group: Group, lines: Sequence[Series], metric: Metric, name: str) -> Chart:
    figure, axes = new_axes(0.8 + 0.46 * len(lines))
    for place, line in enumerate(lines):
        _mean_line(axes, line, place, metric)
    axes.set_yticks(range(len(lines)), [short(line.entry.name) for line in lines])
    axes.set_ylim(len(lines) - 0.45, -0.55)
    axes.margins(x=0.06)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{metric.name}, last epoch ({metric.unit})")
    baselines = [line.entry.row.last(metric.name) for line in lines if line.entry.comparison is BASELINE]
    for baseline in filter(None, baselines):
        axes.axvline(baseline.mean, color=INK, linewidth=0.9, dashes=(3, 3), alpha=0.6, zorder=1)
    title = one_line(f"{metric.name} of the last epoch, recipe {group.recipe}")
    description = "; ".join(f"{line.entry.name} {score_text(line.entry, metric)}" for line in lines)
    caption = "Filled: mean, with one sample standard deviation to each side. Hollow: single seeds."
    caption += (" Dashed: the baseline." if baselines else "") + _of_all(group, lines)
    return Chart(title, caption, inline(figure, name, title, one_line(description)))


def _mean_line(axes: Axes, line: Series, place: int, metric: Metric) -> None:
    """Draw one row: the seeds hollow below the mean, whose bar is one standard deviation to each side."""
    spread, look = line.entry.row.last(metric.name), line.look
    assert spread is not None, "a row without its primary metric is left out before"
    seeds = list(line.entry.row.scores(metric.name).values())  # of a nested row, those of every pretraining
    axes.plot(seeds, [place + 0.26] * len(seeds), look.marker, color=look.colour, mfc=PAPER, ms=4, mew=1, zorder=3)
    style: dict[str, Any] = {"color": look.colour, "ms": 7, "elinewidth": 1.6, "capsize": 4, "capthick": 1.6}
    axes.errorbar(spread.mean, place, xerr=spread.std, fmt=look.marker, zorder=4, **style)
    across = axes.get_yaxis_transform()
    axes.text(1.02, place, score_text(line.entry, metric), transform=across, va="center", fontsize=8.5)


# Curves


def _score_curves(group: Group, lines: Sequence[Series], metric: Metric, name: str) -> Chart:
    names = [line.entry.name for line in lines if line.curve]
    figure, axes = new_axes(height_under_legend(names))
    for line in lines:
        if line.curve:
            _curve(axes, line.curve, line.look, short(line.entry.name), marks=True)
    _epochs(axes, "epoch of fine-tuning")
    axes.set_ylabel(f"{metric.name} ({metric.unit})")
    add_legend(figure, names)
    title = one_line(f"{metric.name} while fine-tuning, recipe {group.recipe}")
    without = [line.entry.name for line in lines if not line.curve]
    caption = "Line: mean over seeds. Band: from the lowest to the highest seed." + _of_all(group, lines)
    caption += f" No curve was logged for {', '.join(without)}." if without else ""
    ends = [
        f"{line.entry.name} from {line.curve.mean[0]:.2f} to {line.curve.mean[-1]:.2f}" for line in lines if line.curve
    ]
    return Chart(title, one_line(caption), inline(figure, name, title, one_line("; ".join(ends))))


def _loss_charts(
    pretrainings: Sequence[FoundRun], labels: Mapping[str, str], styles: Mapping[str, Look]
) -> list[Chart]:
    curves = [(run.record, loss_curve(run.folder)) for run in pretrainings[:MOST_ROWS]]
    drawn = [(record, curve) for record, curve in curves if curve is not None][:MOST_ROWS]
    if not drawn:
        return []
    names = [f"{short(labels.get(record.run_id, record.recipe.name))}, seed {record.seed}" for record, _ in drawn]
    figure, axes = new_axes(height_under_legend(names))
    free, others = dict(styles), islice(looks(), len(styles), None)
    for (record, curve), name in zip(drawn, names, strict=True):
        label = labels.get(record.run_id, record.recipe.name)
        look = free.pop(label, None) or next(others)  # the look of the encoder that came from it
        _curve(axes, curve, look, name, marks=False)
    _epochs(axes, "epoch of pretraining")
    axes.set_ylabel("training loss")
    add_legend(figure, names)
    caption = "Line: mean over a stretch of steps. Band: the stretch's lowest to highest loss."
    silent = len(curves) - len(drawn)
    caption += f" {count(silent, 'pretraining run')} logged no loss." if silent else ""
    caption += f" The first {MOST_ROWS} of {len(pretrainings)}." if len(pretrainings) > MOST_ROWS else ""
    ends = [f"{record.recipe.name} from {curve.mean[0]:.4f} to {curve.mean[-1]:.4f}" for record, curve in drawn]
    title = "Pretraining loss"
    return [Chart(title, caption, inline(figure, "chart-loss", title, one_line("; ".join(ends))))]


def _curve(axes: Axes, curve: Curve, look: Look, label: str, *, marks: bool) -> None:
    every = max(1, len(curve.epochs) // 8)
    marker = look.marker if marks or len(curve.epochs) == 1 else None
    axes.fill_between(curve.epochs, curve.low, curve.high, color=look.colour, alpha=0.16, linewidth=0)
    style = {"color": look.colour, "linestyle": look.dash, "linewidth": 1.6, "ms": 4.5}
    axes.plot(curve.epochs, curve.mean, marker=marker, markevery=every, label=label, **style)
