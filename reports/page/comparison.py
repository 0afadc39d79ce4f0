"""Two sides as one self-contained HTML page, in the design of the leaderboard."""

from __future__ import annotations

from dataclasses import dataclass

from reports.charts.comparison import draw
from reports.charts.svg import Chart
from reports.compare.by_class import ByClass
from reports.compare.score_difference import Comparison
from reports.compare.two_sides import Pairing, SideBySide
from reports.leaderboard.lines import Measured
from reports.page.gallery import Gallery, galleries_of
from reports.page.template import filled
from reports.records.rows import Row
from reports.tables.column import NONE
from reports.tables.columns import PROVENANCE
from reports.tables.comparison_text import (
    NOTES,
    by_class_words,
    class_cells,
    diffs,
    disagreement_cells,
    score_cells,
    shown_value,
    titles_of,
)
from reports.text import one_line


@dataclass(frozen=True)
class Origin:
    """Where a row comes from: the titles of the provenance columns, and their texts."""

    name: str
    texts: list[tuple[str, str]]


@dataclass(frozen=True)
class ClassTable:
    """The table of classes: the words above it, its head and its rows."""

    words: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class PairingPart:
    """A pairing's part of the page."""

    title: str
    """The task and, where the page has several parts of it, what tells this one from them."""
    pairing: Pairing
    scores: list[tuple[str, ...]]
    changes: list[tuple[str, ...]]
    unchanged: list[str]
    charts: list[Chart]
    classes: ClassTable | None
    images: list[tuple[str, ...]] | None
    origins: list[tuple[str, Origin]]
    galleries: list[Gallery]


def to_html(both: SideBySide, *, pictures: bool = False) -> str:
    """Return the page. Every name in it is escaped; the only markup let through is our own charts.

    With `pictures`, images that only one side gets right are shown, where they are at hand.
    """
    sides = list(zip("AB", both.sides, strict=True))
    return filled(
        "comparison.html.j2",
        both=both,
        accounts=[(side, collected.account) for side, collected in sides],
        parts=[
            _part(title, pairing, number, pictures)
            for number, (title, pairing) in enumerate(zip(titles_of(both.pairings), both.pairings, strict=True))
        ],
        notes=NOTES,
        left_out=[
            (side, one_line(left.where), one_line(left.reason))
            for side, collected in sides
            for left in collected.left_out
        ],
    )


def _part(title: str, pairing: Pairing, number: int, pictures: bool) -> PairingPart:
    found = pairing.classes
    return PairingPart(
        title,
        pairing,
        [score_cells(score) for score in pairing.scores],
        [
            (what, one_line(one.field), shown_value(one.ours), shown_value(one.theirs))
            for what, changed in diffs(pairing).items()
            for one in changed or ()
        ],
        [
            f"{what}: {'not at hand for both' if changed is None else 'no difference'}"
            for what, changed in diffs(pairing).items()
            if not changed
        ],
        list(draw(pairing, f"chart-{number}")),
        None if isinstance(found, str) else _classes(found),
        None if isinstance(pairing.images, str) else [disagreement_cells(one) for one in pairing.images],
        [("A", _origin(pairing.ours)), ("B", _origin(pairing.theirs))],
        galleries_of(title, pairing) if pictures else [],
    )


def _classes(found: ByClass) -> ClassTable:
    head = ("Class", found.counted, "A (%)", "B (%)", "A - B (points)", "A - B by seed")
    return ClassTable(by_class_words(found), head, [class_cells(one) for one in found.gains])


def _origin(row: Row) -> Origin:
    line = Measured(row, row.encoder.label, Comparison())
    texts = [(column.title, column.cell(line)[1]) for column in PROVENANCE]
    return Origin(row.encoder.label, [(title, text) for title, text in texts if text != NONE])
