"""Names come from others: make them harmless in a line of text, in Markdown and in a spreadsheet."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections import Counter

WIDTH = 120
"""How wide text is: what does not fit in a table stands below, and sentences go on in the next line."""
JOINERS = "\u200c\u200d"
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001 (the wide forms count too)
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


def spreadsheet(text: str) -> str:
    """Return `text` as a CSV cell that no spreadsheet takes for a formula; plain numbers stay numbers."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 run`, `3 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def tally(reasons: Counter[str]) -> str:
    """Return `2 damaged, 1 failed`-like counts, in the order of the words."""
    return ", ".join(f"{number} {kind}" for kind, number in sorted(reasons.items()))


def filled(text: str, indent: str = "") -> list[str]:
    """Break a sentence into lines of at most WIDTH; a longer word, such as a path, keeps to one line."""
    lines = textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [isolated(line) for line in lines] or [""]
