"""Reconstructions as PNG files and as one HTML page that holds them all."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment
from matplotlib.figure import Figure

from pretrain.show.reconstruct import Pixels, Row

CELL_IN = 1.15

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Reconstructions</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 2rem 0; }
img { max-width: 100%; height: auto; background: white; }
</style>
</head>
<body>
<h1>Reconstructions</h1>
<ul>
{% for run in runs %}<li>{{ run }}</li>
{% endfor %}</ul>
<p>Grey is hidden. A mixed picture shows what was visible as it is, and the prediction in the place of the rest.</p>
{% for picture in pictures %}<figure>
<img src="data:image/png;base64,{{ picture.base64 }}" alt="Masked and reconstructed: {{ picture.name }}">
<figcaption>{{ picture.name }}</figcaption>
</figure>
{% endfor %}</body>
</html>
"""


@dataclass(frozen=True)
class Picture:
    """All rows of one image, drawn."""

    name: str
    png: bytes

    @property
    def base64(self) -> str:
        return base64.b64encode(self.png).decode()


def draw(name: str, rows: Sequence[Row], labels: Sequence[str]) -> Picture:
    """Draw the rows of one image as a PNG; `labels` name the runs (a single empty one where there is one run)."""
    titles = ["original", "masked"]
    for label in labels:
        titles += [f"{word}{label and chr(10)}{label}" for word in ("reconstruction", "mixed")]
    figure = Figure(figsize=(CELL_IN * len(titles) + 0.4, CELL_IN * len(rows) + 0.5), dpi=150, layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=7)
    for line, row in zip(grid, rows, strict=True):
        line[0].set_ylabel(row.mask, fontsize=6)
        for axes, pixels in zip(line, _panels(row), strict=True):
            axes.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return Picture(name, data.getvalue())


def _panels(row: Row) -> list[Pixels]:
    made = [pixels for each in row.reconstructions for pixels in (each.predicted, each.mixed)]
    return [row.original, row.masked, *made]


def page(pictures: Sequence[Picture], runs: Sequence[str]) -> bytes:
    """Return the page; it needs no other file and loads nothing from elsewhere."""
    template = Environment(autoescape=True).from_string(PAGE)
    return template.render(pictures=pictures, runs=runs).encode()
