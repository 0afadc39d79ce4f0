"""What all charts share: their size, their axes, and series that differ by marker and dash as well as by colour."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.catalogue.metrics import Metric
from reports.charts.svg import SERIES
from reports.leaderboard.lines import Measured
from reports.tables.cells import join_spread, spread_parts
from reports.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 4.9
LONGEST_NAME = 26
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.4, 1.2)), (0, (6, 1.5, 1.4, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
LONGEST_IN_TWO_COLUMNS = 20
MOST_ROWS = 12
"""How many rows one chart shows at most; more could not be distinguished."""
MOST_GROUPS = 4
"""How many groups of one task get charts of their own."""


class Look(NamedTuple):
    """How one series is drawn, the same in every chart of a section."""

    colour: str
    marker: str
    dash: Any


def looks() -> Iterator[Look]:
    """Yield looks without end; the three lists have lengths without a common factor, so 210 of them differ."""
    return (Look(*kind) for kind in zip(cycle(SERIES), cycle(MARKERS), cycle(DASHES), strict=False))


def short(name: str) -> str:
    """Return a name for a chart; the tables have it in full."""
    line = one_line(name)
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"


def new_axes(height_in: float) -> tuple[Figure, Axes]:
    """Return a figure of the charts' width, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, figure.add_subplot()


def height_under_legend(names: Sequence[str]) -> float:
    """Return the height in inches of a chart whose legend has these names."""
    return 2.6 + 0.19 * math.ceil(len(names) / _legend_columns(names))


def add_legend(figure: Figure, names: Sequence[str]) -> None:
    """Put the legend above the axes."""
    columns = _legend_columns(names)
    figure.legend(loc="outside upper left", ncols=columns, handlelength=3.2, borderaxespad=0.1)


def _legend_columns(names: Sequence[str]) -> int:
    """Return 2 where two of the longest name fit side by side, else 1."""
    return 2 if max(map(len, map(short, names)), default=0) <= LONGEST_IN_TWO_COLUMNS else 1


def score_text(entry: Measured, metric: Metric) -> str:
    """Return the score as the table shows it."""
    return join_spread(*spread_parts(entry.row.last(metric.name)))
