"""The leaderboard as one self-contained HTML page: it asks nobody for anything, and its policy says so."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from reports.charts.svg import Chart
from reports.leaderboard import Leaderboard, Section
from reports.notes import words
from reports.tables.columns import NONE, Column
from reports.tables.lines import Line
from reports.tables.render import headed
from reports.text import one_line

PAGE = Path(__file__).parent
REQUEST = "mimbench-request"
"""The name of the page's meta element that says what was asked for."""


@dataclass(frozen=True)
class Shown:
    """A line of a table with its place on the page."""

    line: Line
    anchor: str


@dataclass(frozen=True)
class Body:
    """A heading of a table with the lines below it."""

    heading: str
    lines: Sequence[Shown]


@dataclass(frozen=True)
class Part:
    """A task's part of the page."""

    section: Section
    charts: Sequence[Chart]
    bodies: Sequence[Body]

    @cached_property
    def columns(self) -> list[Column]:
        return self.section.in_blocks("scores", "settings")

    @property
    def shown(self) -> list[Shown]:
        return [shown for body in self.bodies for shown in body.lines]


def to_html(board: Leaderboard) -> str:
    """Return the page. Every name in it is escaped; the only markup let through is our own charts."""
    from reports.charts.plots import draw

    charts = draw(board)
    pairs = zip(board.sections, charts.sections, strict=True)
    return filled(
        "leaderboard.html.j2",
        board=board,
        told=words(board),
        request_name=REQUEST,
        request=json.dumps(asdict(board.request), ensure_ascii=False),
        parts=[_part(section, own, number) for number, (section, own) in enumerate(pairs)],
        study_charts=charts.study,
        absent_charts=charts.absent,
    )


def filled(template: str, **values: object) -> str:
    """Return a page made of one of our templates, with the style and the only script that its policy lets run."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"one_line": one_line, "svg": Markup, "sort_key": sort_key}
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        nothing=NONE,
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def _part(section: Section, charts: Sequence[Chart], number: int) -> Part:
    bodies = [
        Body(heading, [Shown(line, f"from-{number}-{place}-{row}") for row, line in enumerate(lines)])
        for place, (heading, lines) in enumerate(headed(section))
    ]
    return Part(section, charts, bodies)


def sort_key(text: str) -> str:
    """Return the number that a cell begins with, or nothing: what a click on the header sorts by."""
    number = re.match(r"[-+]?\d+(\.\d+)?(?!\w)", text)
    return number[0] if number else ""
