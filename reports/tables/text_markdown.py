"""The leaderboard as plain text and Markdown. Every format is made from the same columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from urllib.parse import quote

import pandas as pd
from rich.cells import cell_len

from benchmarks.text.tables import aligned
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.lines import Published
from reports.leaderboard.notes import words
from reports.tables.column import Column
from reports.tables.findings import findings_of
from reports.tables.overview import overview_of
from reports.tables.table import Table, tables_of
from reports.text import WIDTH, broken, count, filled, isolated, markdown, one_line, within_width

TITLE = "Leaderboard"
GAP = 3
NARROWEST = 9
WIDEST_CELL = 44
"""Longer texts go on in the next line of their cell."""
WIDEST_NAME = 64
"""The same, of the first column."""


def to_text(board: Leaderboard) -> str:
    """Return the report for a terminal or a log, at most WIDTH cells wide. No name is cut off."""
    sentences = words(board)
    lines = _beginning(board)
    for table in tables_of(board):
        lines += _section_text(table)
    for note in sentences.notes:
        lines += filled(f"* {one_line(note)}", "  ")
    lines += ["", *filled(sentences.account)]
    lines += [f"  left out: {isolated(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return within_width("\n".join(lines)).rstrip() + "\n"


def to_overview(board: Leaderboard) -> str:
    """Return how the text begins: what was compared, what came out, and every encoder on every task."""
    return within_width("\n".join(_beginning(board))).rstrip() + "\n"


def _beginning(board: Leaderboard) -> list[str]:
    return [TITLE, *filled(one_line(words(board).summary)), "", *_overview_text(board)]


def _overview_text(board: Leaderboard) -> list[str]:
    overview = overview_of(board)
    if not overview.encoders:
        return []
    lines = [line for sentence in findings_of(board) for line in filled(f"* {one_line(sentence)}", "  ")]
    texts = pd.DataFrame(overview.rows, columns=overview.titles, dtype=object).map(one_line)
    lines += ["", *_Aligned(texts, [False] * len(overview.titles)).lines(texts)]
    return [*lines, *([f"and {count(overview.more, 'more encoder')} in the tables"] if overview.more else []), ""]


def _section_text(table: Table) -> list[str]:
    section = table.section
    lines = [f"{section.title}: {section.task.dataset}", ""]
    scores = table.in_blocks("scores")
    settings = [scores[0], *table.in_blocks("settings")]
    halves = [_of_columns(columns, table.texts) for columns in (scores, settings)]
    for body in table.bodies:
        lines += filled(one_line(body.heading))
        for half in halves:
            lines += ["", *half.lines(body.texts)]
        lines.append("")
    for result in section.published:
        lines += filled(one_line(f"  {result.name}, reported: {result.source}"), "    ")
    lines += [""] if section.published else []
    for verdict in section.verdicts:
        lines += filled(f"Early verdict: {one_line(verdict.words)}", "  ")
    return [*lines, ""] if section.verdicts else lines


def _of_columns(columns: Sequence[Column], texts: pd.DataFrame) -> _Aligned:
    return _Aligned(texts[[column.title for column in columns]], [column.numeric for column in columns])


class _Aligned:
    """Columns as wide as all lines of a table need, so that its groups stand below one another.

    Columns that do not fit beside one another stand in further parts, each with the first column.
    """

    def __init__(self, texts: pd.DataFrame, right: Sequence[bool]) -> None:
        """`texts` are all lines of the table; columns whose `right` is true stand flush right."""
        titles = list(texts.columns)
        most = [WIDEST_NAME, *(WIDEST_CELL for _ in titles[1:])]
        room = [
            min(size, max(map(cell_len, texts[title]), default=0)) for size, title in zip(most, titles, strict=True)
        ]
        self.headers = dict(zip(titles, map(_wrapped, titles, room), strict=True))
        self.widths = {
            title: max(size, *map(cell_len, self.headers[title])) for title, size in zip(titles, room, strict=True)
        }
        self.right = dict(zip(titles, right, strict=True))
        self.parts = [titles[:1]]
        for title in titles[1:]:
            if self._width([*self.parts[-1], title]) > WIDTH and len(self.parts[-1]) > 1:
                self.parts.append(titles[:1])
            self.parts[-1].append(title)

    def _width(self, titles: Sequence[str]) -> int:
        return sum(self.widths[title] for title in titles) + GAP * (len(titles) - 1)

    def lines(self, texts: pd.DataFrame) -> list[str]:
        """Return, for each part, header, rule and the lines of each row of `texts`."""
        found: list[str] = []
        for titles in self.parts:
            rows = texts[titles].itertuples(index=False, name=None)
            body = [line for row in rows for line in self._of_row(titles, row)]
            header = zip_longest(*(self.headers[title] for title in titles), fillvalue="")
            sizes, right = [self.widths[title] for title in titles], [self.right[title] for title in titles]
            whole = [*header, ["-" * size for size in sizes], *body]
            found += [""] * bool(found) + aligned(whole, gap=GAP, right=right, widths=sizes).splitlines()
        return found

    def _of_row(self, titles: Sequence[str], row: Sequence[str]) -> Iterator[tuple[str, ...]]:
        cells = [broken(text, self.widths[title]) for title, text in zip(titles, row, strict=True)]
        yield from (tuple(map(isolated, line)) for line in zip_longest(*cells, fillvalue=""))


def _wrapped(title: str, size: int) -> list[str]:
    """Break a column's title between words, so that it is not much wider than its cells."""
    return textwrap.wrap(one_line(title), max(size, NARROWEST), break_long_words=False, break_on_hyphens=False)


def to_markdown(board: Leaderboard) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    sentences = words(board)
    lines = [f"# {TITLE}", "", markdown(one_line(sentences.summary)), "", *_overview_markdown(board)]
    for table in tables_of(board):
        section = table.section
        lines += [f"## {markdown(section.title)}", "", markdown(section.task.dataset), ""]
        columns = table.in_blocks("scores", "settings")
        for body in table.bodies:
            lines += [markdown(one_line(body.heading)), "", *_pipe_table(columns, body.texts), ""]
        lines += [_reported(one) for one in section.published]
        lines += [""] if section.published else []
        lines += [f"- Early verdict: {markdown(one_line(verdict.words))}" for verdict in section.verdicts]
        lines += [""] if section.verdicts else []
    lines += [f"- {markdown(one_line(note))}" for note in sentences.notes]
    lines += ["", sentences.account, ""]
    lines += [f"- left out: {markdown(one_line(f'{left.where}: {left.reason}'))}" for left in board.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _reported(line: Published) -> str:
    """Return where a published result stands, with a link to the source."""
    address = quote(line.first.source, safe=":/?#=&%~")
    return f"- {markdown(one_line(line.name))}, reported: <{address}> ({markdown(one_line(line.places))})"


def _overview_markdown(board: Leaderboard) -> list[str]:
    overview = overview_of(board)
    if not overview.encoders:
        return []
    lines = [f"- {markdown(one_line(sentence))}" for sentence in findings_of(board)]
    rows = [[one_line(cell) for cell in row] for row in overview.rows]
    lines += ["", *_pipes(overview.titles, [False] * len(overview.titles), rows), ""]
    return [*lines, *([f"and {count(overview.more, 'more encoder')} in the tables", ""] if overview.more else [])]


def _pipe_table(columns: Sequence[Column], texts: pd.DataFrame) -> list[str]:
    titles = [column.title for column in columns]
    rows = texts[titles].itertuples(index=False, name=None)
    return _pipes(titles, [column.numeric for column in columns], rows)


def _pipes(titles: Sequence[str], right: Sequence[bool], rows: Iterable[Sequence[str]]) -> list[str]:
    header = [markdown(one_line(title)) for title in titles]
    marks = ["---:" if flush else "---" for flush in right]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *(map(markdown, row) for row in rows))]
