"""Plain aligned tables: the same text on a terminal, in a pipe and in a file; nothing is cut off or wrapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache


def aligned(
    rows: Sequence[Sequence[str]],
    *,
    gap: int = 2,
    right: Sequence[bool] | None = None,
    widths: Sequence[int] | None = None,
) -> str:
    """Return `rows` as lines whose columns start at the same place, `gap` spaces apart.

    Columns for which `right` is true stand flush right. `widths`, in cells of a terminal, are those of the widest
    texts unless given; wide characters take two cells, combining ones none.
    """
    columns = list(zip(*rows, strict=True))
    sizes = widths or [max(map(_cells(), column)) for column in columns]
    flush = right or [False] * len(columns)
    return "\n".join((" " * gap).join(map(_padded, row, sizes, flush)).rstrip() for row in rows)


@cache
def _cells() -> Callable[[str], int]:
    """Return the function that counts how many cells of a terminal a text takes."""
    try:
        from rich.cells import cell_len
    except ImportError:  # `mimbench doctor` also runs in a bare Python, and prints no wide characters
        return len
    return cell_len


def _padded(cell: str, size: int, right: bool) -> str:
    blank = " " * (size - _cells()(cell))
    return blank + cell if right else cell + blank
