"""Names come from others: make them harmless in a line of text, in Markdown and in a spreadsheet."""

from __future__ import annotations

import re
import textwrap
from collections import Counter

from benchmarks.markup import isolated, markdown, one_line

__all__ = ["count", "filled", "isolated", "markdown", "one_line", "spreadsheet", "tally"]

WIDTH = 120
"""How wide text is: what does not fit in a table stands below, and sentences go on in the next line."""
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001 (the wide forms count too)


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
