"""A column of the table: its title, its fields, and how a line's values become the text that people read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from reports.leaderboard.lines import Line, Measured, Published
from reports.records.rows import Row
from reports.tables.cells import Parts
from reports.text import one_line, thousands

NONE = "–"  # noqa: RUF001 (an en dash: nothing to show)
Block = Literal["scores", "settings", "provenance"]
Value = str | float | int | None


class Field(NamedTuple):
    """One value of a row in the formats that programs read."""

    name: str
    type: type[str] | type[float] | type[int] = str

    def value(self, part: str) -> Value:
        """Return a part as a value; numbers have the digits that people see, and an empty part is None."""
        if self.type is str:
            return part
        return self.type(part) if part else None


@dataclass(frozen=True)
class Column:
    """One column. `fields` name each of `parts`; people see `join(*parts)`."""

    title: str
    fields: tuple[Field, ...]
    parts: Callable[[Measured], Parts]
    block: Block
    join: Callable[..., str] = lambda text: text
    published: Callable[[Published], Parts] | None = None
    """The parts of a published result; None: it has none."""
    numeric: bool = False
    """Whether the cell is a number, set flush right."""
    optional: bool = False
    """Whether text and pages leave it out of a table where no line has it."""
    rare: bool = False
    """Whether every format leaves it out of a table where no measured line has it."""
    differing: bool = False
    """Whether every format leaves it out of a table whose measured lines all have the same in it."""
    leading: bool = False
    """Whether a page shows it before a person chooses columns: the answer, and what it cost."""

    def cell(self, line: Line) -> tuple[Parts, str]:
        """Return a line's parts, each on one line, and the text that people read, which is never empty."""
        if isinstance(line, Measured):
            parts = self.parts(line)
        else:
            parts = self.published(line) if self.published else ("",) * len(self.fields)
        parts = tuple(map(one_line, parts))
        return parts, self.join(*parts) or NONE

    def is_shown(self, lines: Sequence[Measured]) -> bool:
        """Tell whether a table of these measured lines has the column."""
        if self.differing:
            return len({self.parts(line) for line in lines}) > 1
        return not self.rare or any(map(any, map(self.parts, lines)))


def row_column(
    title: str,
    field: Field,
    value: Callable[[Row], str],
    published: Callable[[Published], object] | None = None,
    *,
    block: Block = "settings",
    optional: bool = False,
    leading: bool = False,
) -> Column:
    """Return a column of one field; `published` takes it from a published result, None where that does not have it."""

    def of_row(entry: Measured) -> Parts:
        return (value(entry.row),)

    def of_published(result: Published) -> Parts:
        found = published(result) if published else None
        return ("" if found is None else str(found),)

    return Column(
        title,
        (field,),
        of_row,
        block,
        written(field),
        published=of_published,
        numeric=field.type is not str,
        optional=optional,
        leading=leading,
    )


def written(field: Field) -> Callable[[str], str]:
    """Return how people read the values of a column of one field."""
    return str if field.type is str else thousands


def rare_column(title: str, field: str, value: Callable[[Measured], str]) -> Column:
    """Return a column of text that a table has only where one of its measured lines has something in it."""
    return Column(title, (Field(field),), lambda entry: (value(entry),), "settings", rare=True, leading=True)


def differing_column(title: str, field: str, value: Callable[[Row], str]) -> Column:
    """Return a column of text that a table has only where its measured lines differ in it."""
    return Column(title, (Field(field),), lambda entry: (value(entry.row),), "settings", differing=True)
