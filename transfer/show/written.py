"""Sheets as files: a PNG for each task and each confusion matrix, and one page that holds everything."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from benchmarks.errors import printable
from benchmarks.pictures.page import filled
from benchmarks.pictures.sheet import Panel, SheetRow, draw_sheet
from transfer.show.confusion import figure_of, in_words
from transfer.show.shown import Cell, Sheet

RIGHT, WRONG = "#0a6b2d", "#b3161b"
TITLE_WIDTH, LONGEST_TITLE = 20, 60
PAGE = """{% extends "shell" %}
{% block style %}
h2 { margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .4rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8886; min-width: 6rem; }
th[scope=row] { font-weight: normal; font-size: 13px; max-width: 12rem; }
td img { display: block; max-width: none; }
.words { white-space: pre-line; }
.right { color: light-dark(#0a6b2d, #6fd08c); }
.wrong { color: light-dark(#b3161b, #ff9a94); font-weight: 600; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
.legend i { display: inline-block; width: 1em; height: 1em; vertical-align: -.1em; border: 1px solid #888; }
.matrices { display: flex; flex-wrap: wrap; gap: 1rem; }
.matrices figure { margin: 0; max-width: 26rem; }
{% for colour in colours %}
.colour-{{ loop.index0 }} { background: {{ colour }}; }
{% endfor %}
{% endblock %}
{% macro shown(cell, alt) %}
{% if cell.pixels is not none %}
<img src="{{ cell.pixels | picture_url }}" width="{{ cell.pixels.shape[1] }}" height="{{ cell.pixels.shape[0] }}" \
alt="{{ alt | printable }}">
{% endif %}
<span class="words{% if cell.right is true %} right{% elif cell.right is false %} wrong{% endif %}">\
{% if cell.right is not none %}<b>{{ "right" if cell.right else "wrong" }}</b>: {% endif %}\
<bdi>{{ cell.words | printable("\n") }}</bdi></span>
{% endmacro %}
{% block content %}
{% for sheet in sheets %}
<section>
<h2>{{ sheet.task }}\
{% if sheet.encoder is not none %}\
: nearest training images by <bdi>{{ sheet.encoder | printable }}</bdi>\
{% endif %}</h2>
{% for note in sheet.notes %}
<p>{{ note | printable }}</p>
{% endfor %}
{% if sheet.legend %}
<ul class="legend" aria-label="Colours of classes">
{% for swatch in sheet.legend %}
<li><i class="colour-{{ colours.index(swatch.colour) }}"></i> <bdi>{{ swatch.name | printable }}</bdi></li>
{% endfor %}
</ul>
{% endif %}
<div class="scroll" tabindex="0" role="region" aria-label="\
{{ "Predictions on" if sheet.encoder is none else "Neighbours on" }} {{ sheet.task }}\
{% if sheet.encoder is not none %} by {{ sheet.encoder | printable }}{% endif %}">
<table>
<thead><tr><th scope="col">{{ sheet.noun }}</th><th scope="col">truth</th>
{% for column in sheet.columns %}
<th scope="col"><bdi>{{ column | printable }}</bdi></th>
{% endfor %}
</tr></thead>
<tbody>
{% for example in sheet.examples %}
<tr><th scope="row"><bdi>{{ example.name | printable }}</bdi></th>
<td class="truth">{{ shown(example.truth, "Truth of " ~ example.name) }}</td>
{% for cell in example.predictions %}
<td>{{ shown(cell, sheet.alternative(loop.index0, example.name)) }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% if sheet.confusions %}
<h3>Which classes are mistaken for which</h3>
<p>Rows are true classes, columns predicted ones; of all test {{ sheet.noun }}s.</p>
<div class="matrices">
{% for confusion in sheet.confusions %}
<figure>
<img src="{{ figures[confusion.run, sheet.task, loop.index0] | png_url }}" alt="Confusion matrix. \
{{ in_words(confusion) | printable }}">
<figcaption><bdi>{{ in_words(confusion) | printable }}</bdi></figcaption>
</figure>
{% endfor %}
</div>
{% endif %}
</section>
{% endfor %}
{% if refused %}
<section>
<h2>Not shown</h2>
{% for text in refused %}
<p class="words">{{ text | printable("\n") }}</p>
{% endfor %}
</section>
{% endif %}
{% endblock %}
"""


def written(sheets: Sequence[Sheet], refused: Sequence[str]) -> dict[str, bytes]:
    """Return all files by their names: show.html, and PNG files named after the tasks."""
    figures, files = {}, {}
    for sheet, stem in zip(sheets, _stems(sheets), strict=True):
        files[f"{stem}.png"] = _sheet(sheet)
        for number, confusion in enumerate(sheet.confusions):
            figures[confusion.run, sheet.task, number] = figure_of(confusion)
            files[f"{stem}_confusion_{number + 1}.png"] = figures[confusion.run, sheet.task, number]
    colours = list(dict.fromkeys(swatch.colour for sheet in sheets for swatch in sheet.legend))
    files["show.html"] = filled(
        PAGE,
        "What encoders see",
        sheets=sheets,
        refused=refused,
        colours=colours,
        figures=figures,
        in_words=in_words,
    )
    return files


def _stems(sheets: Sequence[Sheet]) -> Iterator[str]:
    """Yield a name for the files of each sheet: its own, with a number where there are several of one."""
    stems: list[str] = []
    for sheet in sheets:
        stems.append(sheet.stem)
        yield sheet.stem if stems.count(sheet.stem) == 1 else f"{sheet.stem}_{stems.count(sheet.stem)}"


def _sheet(sheet: Sheet) -> bytes:
    rows = [
        SheetRow(_title(example.name), [_panel(cell) for cell in (example.truth, *example.predictions)])
        for example in sheet.examples
    ]
    return draw_sheet(rows, ["truth", *map(_title, sheet.columns)])


def _title(name: str) -> str:
    shown = printable(name)
    cut = shown if len(shown) <= LONGEST_TITLE else f"{shown[: LONGEST_TITLE - 1]}…"
    return "\n".join(textwrap.wrap(cut, TITLE_WIDTH))


def _panel(cell: Cell) -> Panel:
    mark = "" if cell.right is None else f"{'right' if cell.right else 'wrong'}: "
    colour = "black" if cell.right is None else RIGHT if cell.right else WRONG
    return Panel(cell.pixels, "\n".join(_title(line) for line in f"{mark}{cell.words}".split("\n")), colour)
