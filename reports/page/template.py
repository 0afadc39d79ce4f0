"""Fill one of the page templates; the page loads nothing from elsewhere, and its policy forbids it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from reports.tables.column import NONE
from reports.text import one_line

LONGEST_NAME = 24
"""A longer name may be cut after three lines; a tooltip has all of it."""
PAGE = Path(__file__).parent / "templates"


def filled(template: str, **values: object) -> str:
    """Return a page made from one of our templates, with the style and the only script that its policy lets run."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"one_line": one_line, "svg": Markup, "id": id}
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        nothing=NONE,
        longest_name=LONGEST_NAME,
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )
