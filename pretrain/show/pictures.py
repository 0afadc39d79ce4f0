"""Reconstructions as PNG files and as one HTML page that holds them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.pictures.page import filled
from benchmarks.pictures.sheet import Panel, Pixels, SheetRow, draw_sheet
from pretrain.show.reconstruct import Row

PAGE = """{% extends "shell" %}
{% block content %}
<ul>
{% for run in runs %}
<li>{{ run }}</li>
{% endfor %}
</ul>
<p>Grey is hidden. A mixed picture shows what was visible as it is, and the prediction in the place of the rest.</p>
{% for picture in pictures %}
<figure>
<img src="{{ picture.png | png_url }}" alt="Masked and reconstructed: {{ picture.name }}">
<figcaption>{{ picture.name }}</figcaption>
</figure>
{% endfor %}
{% endblock %}
"""


@dataclass(frozen=True)
class Picture:
    """All rows of one image, drawn."""

    name: str
    png: bytes


def draw(name: str, rows: Sequence[Row], labels: Sequence[str]) -> Picture:
    """Draw the rows of one image as a PNG; `labels` name the runs (a single empty one where there is one run)."""
    titles = ["original", "masked"]
    for label in labels:
        titles += [f"{word}{label and chr(10)}{label}" for word in ("reconstruction", "mixed")]
    return Picture(
        name, draw_sheet([SheetRow(row.mask, [Panel(each) for each in _panels(row)]) for row in rows], titles)
    )


def _panels(row: Row) -> list[Pixels]:
    made = [pixels for each in row.reconstructions for pixels in (each.predicted, each.mixed)]
    return [row.original, row.masked, *made]


def page(pictures: Sequence[Picture], runs: Sequence[str]) -> bytes:
    """Return the page; it needs no other file and loads nothing from elsewhere."""
    return filled(PAGE, "Reconstructions", pictures=pictures, runs=runs)
