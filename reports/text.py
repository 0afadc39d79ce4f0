"""Names come from others: make them harmless in a line of text, in Markdown and in a spreadsheet."""

from __future__ import annotations

import re
from collections import Counter

from rich.cells import cell_len, chop_cells

from benchmarks.text.markup import isolated, markdown, one_line

__all__ = [
    "broken",
    "count",
    "filled",
    "isolated",
    "markdown",
    "one_line",
    "spreadsheet",
    "tally",
    "thousands",
    "within_width",
]

WIDTH = 120
"""How wide text is: what does not fit in a table stands below, and sentences go on in the next line."""
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # noqa: RUF001 (the wide forms count too)


def spreadsheet(text: str) -> str:
    """Return `text` as a CSV cell that no spreadsheet takes for a formula; plain numbers stay numbers."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text) else text


def thousands(number: str) -> str:
    """Return a number's digits as people read them, `43,110.5`; anything else as it is.

    What programs read has no such commas.
    """
    whole, point, rest = number.partition(".")
    return f"{int(whole):,}{point}{rest}" if len(whole) > 3 and whole.isascii() and whole.isdigit() else number


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 run`, `3 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def tally(reasons: Counter[str]) -> str:
    """Return `2 damaged, 1 failed`-like counts, in the order of the words."""
    return ", ".join(f"{number:,} {kind}" for kind, number in sorted(reasons.items()))


def filled(text: str, indent: str = "") -> list[str]:
    """Break a sentence into lines of at most WIDTH cells of a terminal, between words where that is possible."""
    lines = broken(text, WIDTH, indent)
    return [isolated(line) for line in lines] or [""]


def within_width(text: str) -> str:
    """Return lines of text with those broken that are wider than WIDTH, as words of others' may make them."""
    lines = text.split("\n")
    return "\n".join(line for each in lines for line in (_broken_line(each) if _is_wide(each) else [each]))


def _is_wide(line: str) -> bool:
    return len(line) > WIDTH or (not line.isascii() and cell_len(line) > WIDTH)


def _broken_line(line: str) -> list[str]:
    begin = line[: len(line) - len(line.lstrip(" "))][: WIDTH // 2]
    return broken(line.lstrip(" "), WIDTH, f"{begin}  ", begin)


def broken(text: str, width: int, indent: str = "", first: str = "") -> list[str]:
    """Break a text into lines of at most `width` cells, each but the first after `indent`.

    Wide characters count as two cells. A word that is longer than a line goes on in the next one.
    """
    if not first and cell_len(text) <= width:
        return [text]
    lines, line = [], first
    for word in text.split():
        pieces = chop_cells(word, width - cell_len(indent)) if cell_len(word) > width - cell_len(indent) else [word]
        for number, piece in enumerate(pieces):
            begun = bool(line.strip())
            if begun and (number or cell_len(line) + 1 + cell_len(piece) > width):
                lines.append(line)
                line, begun = indent, False
            line += f" {piece}" if begun else piece
    return [*lines, line] if line.strip() else lines
