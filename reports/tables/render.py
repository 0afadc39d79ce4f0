"""The leaderboard as plain text and Markdown. Every format is made of the same columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from reports.leaderboard import Leaderboard, Section
from reports.notes import words
from reports.tables.columns import Column
from reports.tables.lines import Line
from reports.text import isolated, markdown, one_line, width

TITLE = "Leaderboard"
REPORTED = "Reported elsewhere: published numbers, not measured here and not comparable"
GAP = "   "
NARROWEST = 9


def to_text(board: Leaderboard) -> str:
    """Return the report for a terminal or a log. No name is cut off."""
    told = words(board)
    lines = [TITLE, one_line(told.summary), ""]
    for section in board.sections:
        lines += _section_text(section)
    lines += [f"* {isolated(one_line(note))}" for note in told.notes]
    lines += ["", told.account]
    lines += [f"  left out: {isolated(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _section_text(section: Section) -> list[str]:
    task = section.task
    lines = [f"{task.name}: {task.dataset}", ""]
    scores = section.in_blocks("scores")
    settings = [scores[0], *section.in_blocks("settings")]
    tables = [_Aligned(columns, section.lines) for columns in (scores, settings)]
    for heading, members in headed(section):
        lines.append(isolated(one_line(heading)))
        for table in tables:
            lines += ["", *table.lines(members)]
        lines.append("")
    for quote in section.quoted:
        lines.append(isolated(one_line(f"  {quote.name}, reported: {quote.source}")))
    lines += [""] if section.quoted else []
    lines += [f"Early verdict: {isolated(one_line(verdict.words))}" for verdict in section.verdicts]
    return [*lines, ""] if section.verdicts else lines


def headed(section: Section) -> list[tuple[str, Sequence[Line]]]:
    """Return the lines of a table under their headings: groups of like rows, then what others published."""
    found: list[tuple[str, Sequence[Line]]] = [
        (f"Like for like: {group.words}", group.entries) for group in section.groups
    ]
    return [*found, (REPORTED, section.quoted)] if section.quoted else found


class _Aligned:
    """Columns as wide as all entries of a section need, so that its groups stand below one another."""

    def __init__(self, columns: Sequence[Column], entries: Sequence[Line]) -> None:
        self.columns = columns
        room = [max(width(column.text(entry)) for entry in entries) for column in columns]
        titles = [_wrapped(column.title, size) for column, size in zip(columns, room, strict=True)]
        self.header = list(zip_longest(*titles, fillvalue=""))
        self.widths = [max(size, *map(width, title)) for size, title in zip(room, titles, strict=True)]

    def lines(self, entries: Sequence[Line]) -> list[str]:
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
    told = words(board)
    lines = [f"# {TITLE}", "", markdown(one_line(told.summary)), ""]
    for section in board.sections:
        lines += [f"## {markdown(section.task.name)}", "", markdown(section.task.dataset), ""]
        columns = section.in_blocks("scores", "settings")
        for heading, members in headed(section):
            lines += [markdown(one_line(heading)), "", *_pipe_table(columns, members), ""]
        lines += [f"- {markdown(one_line(f'{quote.name}, reported: {quote.source}'))}" for quote in section.quoted]
        lines += [""] if section.quoted else []
        lines += [f"- Early verdict: {markdown(one_line(verdict.words))}" for verdict in section.verdicts]
        lines += [""] if section.verdicts else []
    lines += [f"- {markdown(one_line(note))}" for note in told.notes]
    lines += ["", told.account, ""]
    lines += [f"- left out: {markdown(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _pipe_table(columns: Sequence[Column], members: Sequence[Line]) -> list[str]:
    header = [markdown(one_line(column.title)) for column in columns]
    marks = ["---:" if column.numeric else "---" for column in columns]
    body = [[markdown(column.text(entry)) for column in columns] for entry in members]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *body)]
