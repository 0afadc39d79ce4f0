"""A sheet of pictures: rows and columns of panels, drawn by matplotlib as one PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL_IN = 1.15
GAP_IN = 0.06
LABEL_IN = 0.35
"""The width of the rows' names."""
WIDEST = 4
"""How many times as wide as high a picture is drawn at most."""
LINE_IN = 0.12
"""The height of a line of words below a picture."""

Pixels = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """One place on a sheet: a picture [H, W, 1 or 3] of 0 to 1, or of bytes, with words; or the words alone."""

    pixels: Pixels | None
    words: str = ""
    colour: str = "black"


@dataclass(frozen=True)
class SheetRow:
    """A line of a sheet: its name, which stands upright beside it, and its panels."""

    name: str
    panels: Sequence[Panel]


def draw_sheet(rows: Sequence[SheetRow], titles: Sequence[str]) -> bytes:
    """Return a PNG of all rows, with the titles above their columns; every row has a panel for each title."""
    from matplotlib.figure import Figure

    lines = max((panel.words.count("\n") + 1 for row in rows for panel in row.panels if panel.words), default=0)
    heights = CELL_IN + LINE_IN * lines
    widths = [max(_width_in(row.panels[column]) for row in rows) for column in range(len(titles))]
    above = 0.1 + LINE_IN * max(title.count("\n") + 1 for title in titles)
    width, height = LABEL_IN + sum(widths), above + heights * len(rows)
    figure = Figure(figsize=(width, height), dpi=150)
    for line, row in enumerate(rows):
        bottom = height - above - line * heights - CELL_IN + GAP_IN
        for column, panel in enumerate(row.panels):
            left, wide = LABEL_IN + sum(widths[:column]), widths[column] - GAP_IN
            axes = figure.add_axes((left / width, bottom / height, wide / width, (CELL_IN - GAP_IN) / height))
            _draw(axes, panel)
            if line == 0:
                axes.set_title(printable(titles[column], kept="\n"), fontsize=7, pad=3, parse_math=False)
            if column == 0:
                axes.set_ylabel(printable(row.name, kept="\n"), fontsize=6, labelpad=2, parse_math=False)
    return png_of(figure)


def _width_in(panel: Panel) -> float:
    """Return how wide a column has to be for a panel: a wide picture is as high as a square one, up to a limit."""
    height, width = (1, 1) if panel.pixels is None else panel.pixels.shape[:2]
    return CELL_IN * min(max(int(width) / int(height), 1.0), WIDEST)


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set(xticks=[], yticks=[])
    words: dict[str, Any] = {"fontsize": 6, "color": panel.colour, "parse_math": False}
    if panel.pixels is None:
        axes.text(0.5, 0.5, printable(panel.words, kept="\n"), ha="center", va="center", **words)
        return
    largest = 255 if panel.pixels.dtype == np.uint8 else 1
    axes.imshow(panel.pixels.squeeze(), cmap="gray", vmin=0, vmax=largest, interpolation="nearest")
    if panel.words:
        axes.set_xlabel(printable(panel.words, kept="\n"), labelpad=2, **words)


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file. Letters that the font lacks are drawn as boxes, without a warning for each."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(data, format="png")
    return data.getvalue()
