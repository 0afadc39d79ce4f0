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
NARROWEST = 8


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
    for group in section.groups:
        lines.append(f"Like for like: {isolated(one_line(group.words))}")
        lines += ["", *_aligned(scores, group), "", *_aligned(settings, group), ""]
    return lines


def _aligned(columns: Sequence[Column], group: Group) -> list[str]:
    body = [[column.text(entry) for column in columns] for entry in group.entries]
    room = [max(map(width, cells)) for cells in zip(*body, strict=True)]
    titles = [_wrapped(column.title, size) for column, size in zip(columns, room, strict=True)]
    header = list(zip_longest(*titles, fillvalue=""))
    widths = [max(map(width, cells)) for cells in zip(*header, *body, strict=True)]
    rule = ["-" * size for size in widths]
    numeric = [column.numeric for column in columns]
    return [_line(cells, widths, numeric) for cells in (*header, rule, *body)]


def _wrapped(title: str, size: int) -> list[str]:
    """Break a column's title between words, so that it is not much wider than its cells."""
    return textwrap.wrap(one_line(title), max(size, NARROWEST), break_long_words=False, break_on_hyphens=False)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = []
    for cell, size, right in zip(cells, widths, numeric, strict=True):
        blank = " " * (size - width(cell))
        padded.append(blank + isolated(cell) if right else isolated(cell) + blank)
    return GAP.join(padded).rstrip()


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
