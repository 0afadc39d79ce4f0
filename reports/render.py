"""The leaderboard as plain text, Markdown and CSV. The page is in `page.py`; all are made of the same columns."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from reports.columns import Column, Entry
from reports.leaderboard import Group, Leaderboard, Section
from reports.text import isolated, markdown, one_line, spreadsheet, width

TITLE = "Leaderboard"
GAP = "   "
NARROWEST = 9


def to_text(board: Leaderboard) -> str:
    """Return the report for a terminal or a log. No name is cut off."""
    lines = [TITLE, one_line(board.summary), ""]
    for section in board.sections:
        lines += _section_text(section)
    lines += [f"* {isolated(one_line(note))}" for note in board.notes]
    lines += ["", board.account]
    lines += [f"  left out: {isolated(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _section_text(section: Section) -> list[str]:
    task = section.task
    lines = [f"{task.name}: {task.dataset}", ""]
    scores = section.in_blocks("scores")
    settings = [scores[0], *section.in_blocks("settings")]
    tables = [_Aligned(columns, section.entries) for columns in (scores, settings)]
    for group in section.groups:
        lines.append(f"Like for like: {isolated(one_line(group.words))}")
        for table in tables:
            lines += ["", *table.lines(group.entries)]
        lines.append("")
    return lines


class _Aligned:
    """Columns as wide as all entries of a section need, so that its groups stand below one another."""

    def __init__(self, columns: Sequence[Column], entries: Sequence[Entry]) -> None:
        self.columns = columns
        room = [max(width(column.text(entry)) for entry in entries) for column in columns]
        titles = [_wrapped(column.title, size) for column, size in zip(columns, room, strict=True)]
        self.header = list(zip_longest(*titles, fillvalue=""))
        self.widths = [max(size, *map(width, title)) for size, title in zip(room, titles, strict=True)]

    def lines(self, entries: Sequence[Entry]) -> list[str]:
        """Return header, rule and one line per entry."""
        rule = ["-" * size for size in self.widths]
        body = [[column.text(entry) for column in self.columns] for entry in entries]
        return [self._line(cells) for cells in (*self.header, rule, *body)]

    def _line(self, cells: Sequence[str]) -> str:
        padded = []
        for cell, size, column in zip(cells, self.widths, self.columns, strict=True):
            blank = " " * (size - width(cell))
            padded.append(blank + isolated(cell) if column.numeric else isolated(cell) + blank)
        return GAP.join(padded).rstrip()


def _wrapped(title: str, size: int) -> list[str]:
    """Break a column's title between words, so that it is not much wider than its cells."""
    return textwrap.wrap(one_line(title), max(size, NARROWEST), break_long_words=False, break_on_hyphens=False)


def to_markdown(board: Leaderboard) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    lines = [f"# {TITLE}", "", markdown(one_line(board.summary)), ""]
    for section in board.sections:
        lines += [f"## {markdown(section.task.name)}", "", markdown(section.task.dataset), ""]
        columns = section.in_blocks("scores", "settings")
        for group in section.groups:
            lines += [f"Like for like: {markdown(one_line(group.words))}", "", *_pipe_table(columns, group), ""]
    lines += [f"- {markdown(one_line(note))}" for note in board.notes]
    lines += ["", board.account, ""]
    lines += [f"- left out: {markdown(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _pipe_table(columns: Sequence[Column], group: Group) -> list[str]:
    header = [markdown(one_line(column.title)) for column in columns]
    marks = ["---:" if column.numeric else "---" for column in columns]
    body = [[markdown(column.text(entry)) for column in columns] for entry in group.entries]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *body)]


def to_csv(board: Leaderboard) -> str:
    """Return one line per row with every field, provenance included; metrics of other tasks stay empty."""
    lines = [_fields(section, entry) for section in board.sections for entry in section.entries]
    header = list(dict.fromkeys(name for line in lines for name in line))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([spreadsheet(line.get(name, "")) for name in header] for line in lines)
    return out.getvalue()


def _fields(section: Section, entry: Entry) -> dict[str, str]:
    cells: dict[str, str] = {}
    for column in section.columns:
        cells |= zip(column.fields, map(one_line, column.parts(entry)), strict=True)
    return cells
