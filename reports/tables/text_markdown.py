"""The leaderboard as plain text and Markdown. Every format is made from the same columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

import pandas as pd
from rich.cells import cell_len

from benchmarks.tables import aligned
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.notes import words
from reports.tables.column import Column
from reports.tables.table import Table, tables_of
from reports.text import isolated, markdown, one_line

TITLE = "Leaderboard"
GAP = 3
NARROWEST = 9


def to_text(board: Leaderboard) -> str:
    """Return the report for a terminal or a log. No name is cut off."""
    sentences = words(board)
    lines = [TITLE, one_line(sentences.summary), ""]
    for table in tables_of(board):
        lines += _section_text(table)
    lines += [f"* {isolated(one_line(note))}" for note in sentences.notes]
    lines += ["", sentences.account]
    lines += [f"  left out: {isolated(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _section_text(table: Table) -> list[str]:
    section = table.section
    lines = [f"{section.task.name}: {section.task.dataset}", ""]
    scores = table.in_blocks("scores")
    settings = [scores[0], *table.in_blocks("settings")]
    halves = [_Aligned(columns, table.texts) for columns in (scores, settings)]
    for body in table.bodies:
        lines.append(isolated(one_line(body.heading)))
        for half in halves:
            lines += ["", *half.lines(body.texts)]
        lines.append("")
    for result in section.published:
        lines.append(isolated(one_line(f"  {result.name}, reported: {result.source}")))
    lines += [""] if section.published else []
    lines += [f"Early verdict: {isolated(one_line(verdict.words))}" for verdict in section.verdicts]
    return [*lines, ""] if section.verdicts else lines


class _Aligned:
    """Columns as wide as all lines of a table need, so that its groups stand below one another."""

    def __init__(self, columns: Sequence[Column], texts: pd.DataFrame) -> None:
        self.titles = [column.title for column in columns]
        self.right = [column.numeric for column in columns]
        room = [texts[title].map(cell_len).max() for title in self.titles]
        wrapped = [_wrapped(title, size) for title, size in zip(self.titles, room, strict=True)]
        self.header = list(zip_longest(*wrapped, fillvalue=""))
        self.widths = [max(size, *map(cell_len, title)) for size, title in zip(room, wrapped, strict=True)]

    def lines(self, texts: pd.DataFrame) -> list[str]:
        """Return header, rule and a line for each row of `texts`."""
        rule = ["-" * size for size in self.widths]
        body = texts[self.titles].map(isolated).itertuples(index=False, name=None)
        return aligned([*self.header, rule, *body], gap=GAP, right=self.right, widths=self.widths).splitlines()


def _wrapped(title: str, size: int) -> list[str]:
    """Break a column's title between words, so that it is not much wider than its cells."""
    return textwrap.wrap(one_line(title), max(size, NARROWEST), break_long_words=False, break_on_hyphens=False)


def to_markdown(board: Leaderboard) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    sentences = words(board)
    lines = [f"# {TITLE}", "", markdown(one_line(sentences.summary)), ""]
    for table in tables_of(board):
        section = table.section
        lines += [f"## {markdown(section.task.name)}", "", markdown(section.task.dataset), ""]
        columns = table.in_blocks("scores", "settings")
        for body in table.bodies:
            lines += [markdown(one_line(body.heading)), "", *_pipe_table(columns, body.texts), ""]
        lines += [f"- {markdown(one_line(f'{one.name}, reported: {one.source}'))}" for one in section.published]
        lines += [""] if section.published else []
        lines += [f"- Early verdict: {markdown(one_line(verdict.words))}" for verdict in section.verdicts]
        lines += [""] if section.verdicts else []
    lines += [f"- {markdown(one_line(note))}" for note in sentences.notes]
    lines += ["", sentences.account, ""]
    lines += [f"- left out: {markdown(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _pipe_table(columns: Sequence[Column], texts: pd.DataFrame) -> list[str]:
    header = [markdown(one_line(column.title)) for column in columns]
    marks = ["---:" if column.numeric else "---" for column in columns]
    body = texts[[column.title for column in columns]].map(markdown).itertuples(index=False, name=None)
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *body)]
