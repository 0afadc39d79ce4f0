"""A task's part of a leaderboard: groups of like rows, what others published, how cheap signals agree."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.catalogue.task import Task
from reports.compare.early_verdict import Verdict
from reports.leaderboard.lines import Line, Measured, Published
from reports.records.rows import FAMILIES, Conditions


def labelled(task: str, protocol: str) -> str:
    """Return what a task under one of several protocols is called in every format: `digits (frozen)`.

    Sentences list such names with commas between them.
    """
    return f"{task} ({protocol})"


@dataclass(frozen=True)
class Group:
    """Rows that agree in all conditions and may be compared with one another, best first."""

    conditions: Conditions
    entries: tuple[Measured, ...]

    @property
    def recipe(self) -> str:
        return self.entries[0].row.recipe.name

    @property
    def varied(self) -> str:
        """What its recipe has different from other groups' recipes of the same name; empty where nothing is."""
        return f" with {self.entries[0].varied}" if self.entries[0].varied else ""

    @property
    def words(self) -> str:
        """What the rows share, in words."""
        shared = self.conditions
        return (
            f"task version {shared.task_version}, recipe {self.recipe}{self.varied} ({shared.recipe_digest[:8]}), "
            f"{shared.image_size_px} px, data: {shared.fingerprint}"
        )


@dataclass(frozen=True)
class Section:
    """One table: a task's rows of one family of protocols."""

    task: Task
    family: str
    """What becomes of the encoder, as a row's `family`."""
    alone: bool
    """Whether the task has no other family's rows."""
    groups: tuple[Group, ...]
    published: tuple[Published, ...]
    """Published results, which nothing here is compared with."""
    verdicts: tuple[Verdict, ...]
    """How well cheap signals agree with the score, one after another for each group."""

    @property
    def title(self) -> str:
        """The task's name and, unless all its rows are fine-tuned, the family."""
        return self.task.name if self.alone and self.family == FAMILIES[0] else labelled(self.task.name, self.family)

    @property
    def slug(self) -> str:
        """The title as an identifier."""
        return re.sub("[ ()]+", "-", self.title).rstrip("-")

    @property
    def entries(self) -> list[Measured]:
        return [entry for group in self.groups for entry in group.entries]

    @property
    def lines(self) -> list[Line]:
        """The table's lines: rows that were measured, then published results."""
        return [*self.entries, *self.published]

    @property
    def measured(self) -> set[str]:
        """The names of all metrics that a run of this task has."""
        return {name for entry in self.entries for record in entry.row.records for name in record.metrics}

    @property
    def budgeted(self) -> bool:
        """Tell whether a record states its encoder's history; those of earlier versions do not."""
        return any(entry.budget is not None and entry.budget.stated for entry in self.entries)

    @property
    def costs(self) -> bool:
        """Tell whether the rows come from several pretrainings whose steps were timed."""
        timed = {one.pretraining.run_id for one in self.entries if one.pretraining and one.pretraining.seconds_per_step}
        return len(timed) > 1
