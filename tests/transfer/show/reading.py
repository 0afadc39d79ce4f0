"""Reading the page back: its rows as text and pictures, as a person meets them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path


@dataclass
class Read:
    """A cell: its words, and the addresses of its pictures."""

    words: str = ""
    pictures: list[str] = field(default_factory=list)


class _Rows(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[Read]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append(Read())
            self.inside = True
        elif tag == "img" and self.inside:
            self.rows[-1][-1].pictures.append(dict(attrs)["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1].words += data


def rows_of_page(out: Path) -> list[list[Read]]:
    """Return all rows of all tables of show.html, the headers first; words without spaces around them."""
    parser = _Rows()
    parser.feed((out / "show.html").read_text(encoding="utf-8"))
    return [[Read(cell.words.strip(), cell.pictures) for cell in row] for row in parser.rows]
