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
    cell = CELL_IN + LINE_IN * lines
    figure = Figure(figsize=(CELL_IN * len(titles) + 0.4, cell * len(rows) + 0.5), dpi=150, layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(printable(title, kept="\n"), fontsize=7, parse_math=False)
    for places, row in zip(grid, rows, strict=True):
        places[0].set_ylabel(printable(row.name, kept="\n"), fontsize=6, parse_math=False)
        for axes, panel in zip(places, row.panels, strict=True):
            _draw(axes, panel)
    return png_of(figure)


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set(xticks=[], yticks=[])
    words: dict[str, Any] = {"fontsize": 6, "color": panel.colour, "parse_math": False}
    if panel.pixels is None:
        axes.text(0.5, 0.5, printable(panel.words, kept="\n"), ha="center", va="center", **words)
        return
    largest = 255 if panel.pixels.dtype == np.uint8 else 1
    axes.imshow(panel.pixels.squeeze(), cmap="gray", vmin=0, vmax=largest, interpolation="nearest")
    if panel.words:
        axes.set_xlabel(printable(panel.words, kept="\n"), **words)


def png_of(figure: Figure) -> bytes:
    """Return a figure as a PNG file. Letters that the font lacks are drawn as boxes, without a warning for each."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(data, format="png")
    return data.getvalue()
