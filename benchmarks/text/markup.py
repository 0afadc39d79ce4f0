"""Names come from others: make them harmless in a line of text and in Markdown."""

from __future__ import annotations

import re
import unicodedata

JOINERS = "\u200c\u200d"
MARKDOWN = re.compile(r"([\\`*|~$]|\](?=[(\[:])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
FIRST_FROM_RIGHT = "\u0590"
"""No character before this one is of a script that is written from right to left."""
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"


def one_line(text: str) -> str:
    """Return `text` with every control, direction or line character written as its escape, so that it is one line."""
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else char.encode("unicode_escape").decode() for char in text)


def _harmless(char: str) -> bool:
    return char in JOINERS or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}


def isolated(text: str) -> str:
    """Return `text` so that a right-to-left name does not reorder the numbers beside it."""
    if text and max(text) >= FIRST_FROM_RIGHT and any(unicodedata.bidirectional(char) in {"R", "AL"} for char in text):
        return f"{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}"
    return text


def markdown(text: str) -> str:
    """Return `text` as a Markdown table cell that renders as exactly these characters."""
    html_free = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return isolated(MARKDOWN.sub(r"\\\1", html_free).replace("@", "&#64;").replace("://", "&#58;//"))
