"""Two sides as one self-contained HTML page, in the design of the leaderboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.charts.figures import looks, new_axes, short
from reports.charts.scatter import BAR
from reports.charts.svg import INK, STYLE, Chart, inline
from reports.compare.classes import ByClass, ClassGain, extremes
from reports.compare.differences import Comparison
from reports.compare.side_by_side import Pairing, SideBySide
from reports.compare.side_by_side_text import (
    by_class_words,
    class_cells,
    diffs,
    disagreement_cells,
    metric_words,
    score_cells,
    shown_value,
)
from reports.notes import account
from reports.page.page import filled
from reports.records.rows import Row
from reports.tables.columns import NONE, PROVENANCE
from reports.tables.lines import Entry
from reports.text import one_line

MOST_BARS = 10
"""Gains, and as many losses, in the chart; the table has every class."""
NOTES = (
    "The score is the last epoch's, as mean ± sample standard deviation over n seeds. A difference and its 95 % "
    "percentile bootstrap interval are taken over the seeds in common, seed by seed; p is that of the exact two-sided "
    "sign-flip test of these differences. With 3 seeds it cannot be below 0.25, whatever the runs say.",
    "McNemar's exact test asks, for one seed, whether the images that only one of the two gets right could be so "
    "divided by chance. It knows nothing of how another training would have come out.",
    "The classes with the largest differences are the ones that chance favoured most: look at the span over seeds.",
    "Folders, workers and devices are no difference between recipes. Where A and B are not comparable, every "
    "difference of scores is withheld.",
)


@dataclass(frozen=True)
class Origin:
    """Where a row comes from: titles and texts."""

    name: str
    told: list[tuple[str, str]]


@dataclass(frozen=True)
class Classes:
    """The table of classes."""

    words: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """A pairing's part of the page."""

    pairing: Pairing
    scores: list[tuple[str, ...]]
    changes: list[tuple[str, ...]]
    unchanged: list[str]
    charts: list[Chart]
    classes: Classes | None
    images: list[tuple[str, ...]] | None
    origins: list[tuple[str, Origin]]


def to_html(both: SideBySide) -> str:
    """Return the page. Every name in it is escaped; the only markup let through is our own charts."""
    sides = list(zip("AB", both.sides, strict=True))
    return filled(
        "comparison.html.j2",
        both=both,
        accounts=[(side, account(collected)) for side, collected in sides],
        parts=[_part(pairing, number) for number, pairing in enumerate(both.pairings)],
        notes=NOTES,
        left_out=[
            (side, one_line(left.where), one_line(left.reason))
            for side, collected in sides
            for left in collected.left_out
        ],
    )


def _part(pairing: Pairing, number: int) -> Part:
    found = pairing.classes
    return Part(
        pairing,
        [score_cells(score) for score in pairing.scores],
        [
            (what, one_line(one.field), shown_value(one.ours), shown_value(one.theirs))
            for what, changed in diffs(pairing).items()
            for one in changed or ()
        ],
        [
            f"{what}: {'not at hand for both' if changed is None else 'no difference'}"
            for what, changed in diffs(pairing).items()
            if not changed
        ],
        list(_charts(pairing, f"chart-{number}")),
        None if isinstance(found, str) else _classes(found),
        None if isinstance(pairing.images, str) else [disagreement_cells(one) for one in pairing.images],
        [("A", _origin(pairing.ours)), ("B", _origin(pairing.theirs))],
    )


def _classes(found: ByClass) -> Classes:
    head = ("Class", found.counted, "A (%)", "B (%)", "A - B (points)", "A - B by seed")
    return Classes(by_class_words(found), head, [class_cells(one) for one in found.gains])


def _origin(row: Row) -> Origin:
    entry = Entry(row, row.encoder.label, Comparison())
    told = [(column.title, column.text(entry)) for column in PROVENANCE]
    return Origin(row.encoder.label, [(title, text) for title, text in told if text != NONE])


def _charts(pairing: Pairing, name: str) -> Iterator[Chart]:
    """Yield differences of scores with their intervals, and of classes; none where they are withheld."""
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        bars = [score for score in pairing.scores if score.comparison.interval is not None]
        if bars:
            yield _differences(
                [
                    Bar(metric_words(one), one.comparison.delta or 0.0, *one.comparison.interval[:2])
                    for one in bars
                    if one.comparison.interval is not None
                ],
                "Difference of scores",
                "Dot: A less B, mean over the seeds in common. Bar: its 95 % interval.",
                f"{name}-scores",
            )
        if not isinstance(pairing.classes, str) and (most := list(extremes(pairing.classes, MOST_BARS))):
            yield _differences(
                [_class_bar(one) for one in most],
                f"{pairing.classes.measure} by class: the largest gains and losses",
                "Dot: A less B, mean over seeds. Bar: from the lowest to the highest seed.",
                f"{name}-classes",
            )


@dataclass(frozen=True)
class Bar:
    """A difference and what it spans."""

    name: str
    value: float
    low: float
    high: float


def _class_bar(one: ClassGain) -> Bar:
    return Bar(one.name, one.gain, min(one.by_seed), max(one.by_seed))


def _differences(bars: Sequence[Bar], title: str, caption: str, name: str) -> Chart:
    """Draw differences below one another, with a line at zero."""
    figure, axes = new_axes(0.9 + 0.3 * len(bars))
    look = next(looks())
    for place, bar in enumerate(bars):
        spans = [[bar.value - bar.low], [bar.high - bar.value]]
        axes.errorbar(bar.value, place, xerr=spans, fmt=look.marker, color=look.colour, **BAR)
        axes.text(1.02, place, f"{bar.value:+.2f}", transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.axvline(0, color=INK, linewidth=0.9, dashes=(3, 3), alpha=0.6, zorder=1)
    axes.set_yticks(range(len(bars)), [short(bar.name) for bar in bars])
    axes.set_ylim(len(bars) - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("A - B (points)")
    told = "; ".join(f"{bar.name} {bar.value:+.2f} [{bar.low:+.2f}, {bar.high:+.2f}]" for bar in bars)
    return Chart(one_line(title), caption, inline(figure, name, one_line(title), one_line(told)))
