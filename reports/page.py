"""The leaderboard as one self-contained HTML page: it asks nobody for anything, and its policy says so."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from reports.leaderboard import Leaderboard
from reports.text import one_line

PAGE = Path(__file__).parent / "page"


def to_html(board: Leaderboard) -> str:
    """Return the page. Every name in it is escaped; the only markup let through is our own charts."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from reports.plots import draw

    section_charts, loss_charts = draw(board)
    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"one_line": one_line, "svg": Markup, "sort_key": sort_key}
    script = (PAGE / "sort.js").read_text(encoding="utf-8")
    return environment.get_template("leaderboard.html.j2").render(
        board=board,
        sections=list(zip(board.sections, section_charts, strict=True)),
        loss_charts=loss_charts,
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def sort_key(text: str) -> str:
    """Return the number that a cell begins with, or nothing: what a click on the header sorts by."""
    number = re.match(r"[-+]?\d+(\.\d+)?(?!\w)", text)
    return number[0] if number else ""
