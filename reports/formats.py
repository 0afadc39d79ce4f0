"""Every format a leaderboard is written in. Adding one is one entry here."""

from __future__ import annotations

from collections.abc import Callable

from reports.leaderboard.board import Leaderboard
from reports.page.leaderboard import to_html
from reports.tables.csv_json_parquet import to_csv, to_json, to_parquet
from reports.tables.latex import to_latex
from reports.tables.text_markdown import to_markdown, to_text

FORMATS: dict[str, Callable[[Leaderboard], str | bytes]] = {
    "txt": to_text,
    "md": to_markdown,
    "csv": to_csv,
    "json": to_json,
    "parquet": to_parquet,
    "tex": to_latex,
    "html": to_html,
}
"""The function that makes each format, by the suffix of its files."""


def rendered(board: Leaderboard, suffix: str) -> bytes:
    """Return the bytes of a leaderboard's file."""
    content = FORMATS[suffix](board)
    return content if isinstance(content, bytes) else content.encode()
