"""Charts of two sides: differences of scores with their intervals, and of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.charts.figures import looks, new_axes, short
from reports.charts.scatter import BAR
from reports.charts.svg import INK, STYLE, Chart, inline
from reports.compare.by_class import ClassGain, extremes
from reports.compare.score_difference import methods
from reports.compare.two_sides import Pairing
from reports.tables.comparison_text import metric_words
from reports.text import one_line

MOST_BARS = 10
"""How many gains, and how many losses, the chart shows at most; the table has every class."""


def draw(pairing: Pairing, name: str) -> Iterator[Chart]:
    """Yield differences of scores with their intervals, and of classes; none where they are withheld."""
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        bars = [score for score in pairing.scores if score.comparison.interval is not None]
        if bars:
            how = methods(one.comparison for one in bars)
            yield _differences(
                [
                    Bar(metric_words(one), one.comparison.delta or 0.0, *one.comparison.interval[:2])
                    for one in bars
                    if one.comparison.interval is not None
                ],
                "Difference of scores",
                f"Dot: A less B, mean over the seeds. Bar: its 95 % interval, {how}.",
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
    """A difference, and the ends of the bar around it."""

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
    description = "; ".join(f"{bar.name} {bar.value:+.2f} [{bar.low:+.2f}, {bar.high:+.2f}]" for bar in bars)
    return Chart(one_line(title), caption, inline(figure, name, one_line(title), one_line(description)))
