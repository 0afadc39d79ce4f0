"""Plain aligned tables: the same text on a terminal, in a pipe and in a file; nothing is cut off or wrapped."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` as lines whose columns start at the same place, two spaces apart; the last column runs free."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
