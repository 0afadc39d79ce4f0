"""Fill one of the page templates; the page loads nothing from elsewhere, and its policy forbids it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reports.tables.column import NONE
from reports.text import one_line

if TYPE_CHECKING:
    from jinja2 import Environment

LONGEST_NAME = 24
"""A longer name may be cut after three lines; a tooltip has all of it."""
PAGE = Path(__file__).parent / "templates"


def filled(template: str, **values: object) -> str:
    """Return a page made from one of our templates, with the style and the only script that its policy lets run."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    """Return what fills templates, which are compiled once for all pages of a site."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    found = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters |= {"one_line": one_line, "svg": Markup, "id": id}
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    found.globals |= {
        "nothing": NONE,
        "longest_name": LONGEST_NAME,
        "style": Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return found
