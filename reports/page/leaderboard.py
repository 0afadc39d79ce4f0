"""The leaderboard as one self-contained HTML page: it loads nothing from elsewhere, and its policy forbids it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from reports.charts.svg import Chart
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.lines import Line
from reports.leaderboard.notes import words
from reports.page.template import filled
from reports.tables.findings import findings_of, title_of
from reports.tables.overview import overview_of
from reports.tables.table import Table, tables_of

REQUEST = "mimbench-request"
"""The name of the page's meta element that records what was asked for."""


@dataclass(frozen=True)
class PageLine:
    """A line of a table, its cells by title, and the anchor of the details about where it comes from."""

    line: Line
    texts: dict[str, str]
    anchor: str


@dataclass(frozen=True)
class TaskPart:
    """A task's part of the page; `bodies` are headings with the lines below them."""

    table: Table
    charts: Sequence[Chart]
    bodies: Sequence[tuple[str, Sequence[PageLine]]]


def to_html(board: Leaderboard, home: str | None = None) -> str:
    """Return the page. Every name in it is escaped; the only markup let through is our own charts.

    `home` is the page of a site that it leads back to.
    """
    from reports.charts.leaderboard import draw

    charts = draw(board)
    pairs = zip(tables_of(board), charts.sections, strict=True)
    parts = [_part(table, own, number) for number, (table, own) in enumerate(pairs)]
    shown = [line for part in parts for _, lines in part.bodies for line in lines]
    return filled(
        "leaderboard.html.j2",
        board=board,
        sentences=words(board),
        request_name=REQUEST,
        request=json.dumps(asdict(board.request), ensure_ascii=False),
        title=title_of(board),
        overview=overview_of(board),
        findings=findings_of(board),
        links={id(one.line): f"#{one.anchor}" for one in shown},
        home=home,
        parts=parts,
        study_charts=charts.study,
        absent_charts=charts.absent,
    )


def _part(table: Table, charts: Sequence[Chart], number: int) -> TaskPart:
    bodies = []
    for place, body in enumerate(table.bodies):
        cells = zip(body.lines, body.texts.to_dict("records"), strict=True)
        lines = [PageLine(line, texts, anchor(number, place, row)) for row, (line, texts) in enumerate(cells)]
        bodies.append((body.heading, lines))
    return TaskPart(table, charts, bodies)


def anchor(section: int, group: int, row: int) -> str:
    """Return the anchor of the details of a row, by its place on the page."""
    return f"from-{section}-{group}-{row}"
