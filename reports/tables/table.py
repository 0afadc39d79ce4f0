"""A task's table: every cell made once, as the values that programs read and as the text that people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pandas as pd

from reports.leaderboard.board import Leaderboard, Request
from reports.leaderboard.lines import Line
from reports.leaderboard.section import Section
from reports.tables.column import NONE, Block, Column
from reports.tables.columns import columns_for

PUBLISHED = "Reported elsewhere: published numbers, not measured here and not comparable"


@dataclass(frozen=True)
class Body:
    """Lines that stand together under a heading, and their cells as people read them."""

    heading: str
    lines: Sequence[Line]
    texts: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Table:
    """A section's cells; both frames have one row for each of the section's lines."""

    section: Section
    columns: tuple[Column, ...]
    parts: pd.DataFrame
    """A column for each field, by the field's name; numbers are text with the digits that people see."""
    texts: pd.DataFrame
    """A column for each column of the table, by its title."""

    def in_blocks(self, *blocks: Block) -> list[Column]:
        """Return the columns that people see of some blocks."""
        return [column for column in self._shown if column.block in blocks]

    @cached_property
    def _shown(self) -> list[Column]:
        return [one for one in self.columns if not one.optional or (self.texts[one.title] != NONE).any()]

    @cached_property
    def bodies(self) -> list[Body]:
        """Return the groups of like rows, then what others published."""
        section, found, start = self.section, [], 0
        parts: list[tuple[str, Sequence[Line]]] = [
            (f"Like for like: {one.words}", one.entries) for one in section.groups
        ]
        parts += [(PUBLISHED, section.published)] if section.published else []
        for heading, lines in parts:
            found.append(Body(heading, lines, self.texts.iloc[start : start + len(lines)]))
            start += len(lines)
        return found


@lru_cache(maxsize=1)
def tables_of(board: Leaderboard) -> list[Table]:
    """Return the tables of a leaderboard, one for each section; all formats are made from them."""
    return [_table(section, board.request) for section in board.sections]


def _table(section: Section, request: Request) -> Table:
    columns = tuple(columns_for(section, request.baseline, holm=request.holm))
    parts: dict[str, Sequence[str]] = {}
    texts = {}
    for column in columns:
        cells = [column.cell(line) for line in section.lines]
        names = (field.name for field in column.fields)
        parts |= zip(names, zip(*(each for each, _ in cells), strict=True), strict=True)
        texts[column.title] = [text for _, text in cells]
    return Table(section, columns, pd.DataFrame(parts, dtype=object), pd.DataFrame(texts, dtype=object))
