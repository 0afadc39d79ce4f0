"""The leaderboard as one self-contained HTML page: it loads nothing from elsewhere, and its policy forbids it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from reports.charts.svg import Chart
from reports.compare.score_difference import BASELINE
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.lines import Line, Published
from reports.leaderboard.notes import words
from reports.page.gallery import Gallery, gallery_of
from reports.page.packed import KIND, packed
from reports.page.template import filled
from reports.tables.facets import FACETS, facets_of
from reports.tables.findings import findings_of, title_of
from reports.tables.overview import overview_of
from reports.tables.table import Body, Table, tables_of

REQUEST = "mimbench-request"
"""The name of the page's meta element that records what was asked for."""
MOST_ROWS = 200
"""The rows of a table that stand in the page as such; of larger tables it carries the others as data."""
FEWEST_OF_GROUP = 10


@dataclass(frozen=True)
class PageLine:
    """A line of a table, its cells by title, its facets, and the anchor of the details about where it comes from."""

    line: Line
    texts: dict[str, str]
    anchor: str
    facets: dict[str, str]

    @property
    def kind(self) -> str:
        return f"{self.line.kind} baseline" if self.line.comparison == BASELINE else self.line.kind


@dataclass(frozen=True)
class TaskPart:
    """A task's part of the page; `bodies` are headings with the lines below them, `more` the data of further lines."""

    table: Table
    charts: Sequence[Chart]
    bodies: Sequence[tuple[str, Sequence[PageLine]]]
    gallery: Gallery | None
    more: str
    """Of each group, columns of cells in the order of the table's and then of provenance; empty where there is none."""


def to_html(board: Leaderboard, home: str | None = None, *, charts: bool = True) -> str:
    """Return the page. Every name in it is escaped; the only markup let through is our own charts.

    `home` is the page of a site that it leads back to. Without `charts` it has none.
    """
    from reports.charts.leaderboard import Charts, draw

    drawn = draw(board) if charts else Charts([[] for _ in board.sections], [], ())
    tables = tables_of(board)
    pairs = zip(tables, drawn.sections, strict=True)
    parts = [_part(table, own, number, board.request.pictures) for number, (table, own) in enumerate(pairs)]
    links = {
        id(line): f"#{anchor(number, place, row)}"
        for number, table in enumerate(tables)
        for place, body in enumerate(table.bodies)
        for row, line in enumerate(body.lines)
    }
    return filled(
        "leaderboard.html.j2",
        board=board,
        sentences=words(board),
        request_name=REQUEST,
        request=json.dumps(board.request.recorded(), ensure_ascii=False),
        title=title_of(board),
        overview=overview_of(board),
        findings=findings_of(board),
        links=links,
        home=home,
        parts=parts,
        packed_kind=KIND,
        facets=FACETS,
        study_charts=drawn.study,
        absent_charts=drawn.absent,
    )


def _part(table: Table, charts: Sequence[Chart], number: int, pictures: bool) -> TaskPart:
    bodies, more, found = [], [], table.bodies
    large = len(table.section.lines) > MOST_ROWS
    most = max(FEWEST_OF_GROUP, MOST_ROWS // len(found)) if large else len(table.section.lines)
    for place, body in enumerate(found):
        cells = zip(body.lines[:most], body.texts.iloc[:most].to_dict("records"), strict=True)
        lines = [
            PageLine(line, texts, anchor(number, place, row), facets_of(line))
            for row, (line, texts) in enumerate(cells)
        ]
        bodies.append((body.heading, lines))
        if large:
            more.append(_columns(table, body, most))
    gallery = gallery_of(table.section) if pictures else None
    return TaskPart(table, charts, bodies, gallery, packed({"section": number, "groups": more}) if large else "")


def _columns(table: Table, body: Body, start: int) -> dict[str, object]:
    """Return the lines of a group from `start` on as columns, whose like neighbours compress well."""
    lines, texts = body.lines[start:], body.texts.iloc[start:]
    facets = [facets_of(line) for line in lines]
    return {
        "start": start,
        "kinds": [PageLine(line, {}, "", {}).kind for line in lines],
        "origins": [line.origin for line in lines],
        "sources": [line.first.source if isinstance(line, Published) else "" for line in lines],
        "facets": {name: [each[name] for each in facets] for name in FACETS},
        "cells": [texts[one.title].tolist() for one in table.in_blocks("scores", "settings")],
        "provenance": {one.title: texts[one.title].tolist() for one in table.in_blocks("provenance")},
    }


def anchor(section: int, group: int, row: int) -> str:
    """Return the anchor of the details of a row, by its place on the page."""
    return f"from-{section}-{group}-{row}"
