"""The two kinds of line a table has: what was measured here, and what was published elsewhere."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from benchmarks.catalogue.published import Reference, load_references
from benchmarks.encoders import Architecture
from reports.compare.differences import Comparison
from reports.records.rows import Row
from reports.text import count

if TYPE_CHECKING:
    from reports.tables.columns import Column

Shown = Literal["none", "same", "all"]
"""Which published numbers a table shows: none, those of the backbones in it, or all of its task."""

SIZES = {"tiny": "T", "small": "S", "base": "B", "large": "L", "huge": "H", "giant": "g"}
FAMILIES = {"swin": "Swin", "swinv2": "SwinV2", "vit": "ViT", "beit": "ViT"}
TIMM_NAME = re.compile(rf"({'|'.join(FAMILIES)})_({'|'.join(SIZES)})_")


@dataclass(frozen=True)
class Cell:
    """What a line shows in a column: its single values, and the text that people read."""

    parts: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Entry:
    """A row as a table shows it: with its name and its comparison."""

    row: Row
    name: str
    comparison: Comparison
    _cells: dict[str, Cell] = field(default_factory=dict, compare=False, repr=False)
    kind = "measured"

    @property
    def origin(self) -> str:
        return f"{self.row.recipe.name}, {count(len(self.row.runs), 'run')}"

    def cell(self, column: Column) -> Cell:
        """Return the cell; it is worked out once for all formats."""
        if column.title not in self._cells:
            self._cells[column.title] = column.cell(column.parts(self))
        return self._cells[column.title]


@dataclass(frozen=True)
class Quoted:
    """Published numbers of one model by one source; they are in no mean and no difference."""

    references: tuple[Reference, ...]
    comparison = Comparison(note="reported, not compared")
    kind = "reported"

    @property
    def first(self) -> Reference:
        return self.references[0]

    @property
    def name(self) -> str:
        """Return method, backbone and what tells published results of these two apart at a glance."""
        told = [f"{self.first.method} {self.first.backbone}"]
        told += [f"{self.first.pretrain_epochs} epochs"] if self.first.pretrain_epochs else []
        told += [f"{self.first.image_size_px} px"] if self.first.image_size_px else []
        return ", ".join(told)

    @property
    def origin(self) -> str:
        return f"reported by {self.first.source}"

    @property
    def source(self) -> str:
        places = dict.fromkeys(each.locator for each in self.references)
        return f"{self.first.source} ({'; '.join(places)})"

    def cell(self, column: Column) -> Cell:
        return column.cell(column.quoted(self) if column.quoted else ("",) * len(column.fields))

    def value(self, metric: str) -> str:
        """Return the number as its source shows it; empty where it has none."""
        return next((str(each.value) for each in self.references if each.metric == metric), "")


Line = Entry | Quoted


def quotes(task: str, rows: Sequence[Row], shown: Shown, unverified: bool) -> tuple[Quoted, ...]:
    """Return the published results for `task` that stand beside `rows`, verified ones alone unless asked otherwise."""
    backbones = {backbone(row.architecture) for row in rows}
    known = [each for each in load_references() if each.task == task and each.protocol != "pretrain"]
    wanted = [each for each in known if each.verified or unverified]
    if shown == "none":
        return ()
    return tuple(_grouped(each for each in wanted if shown == "all" or each.backbone in backbones))


def backbone(architecture: Architecture) -> str | None:
    """Return what papers call a timm architecture, such as Swin-B; None where they have no name for it."""
    found = TIMM_NAME.match(architecture.name)
    return f"{FAMILIES[found[1]]}-{SIZES[found[2]]}" if found else None


def _grouped(references: Iterable[Reference]) -> list[Quoted]:
    same: dict[tuple[object, ...], list[Reference]] = defaultdict(list)
    for each in references:
        model = (each.method, each.backbone, each.pretrain_epochs, each.image_size_px, each.init_stage)
        same[(*model, each.protocol, each.variant, each.source)].append(each)
    return [Quoted(tuple(group)) for group in same.values()]
