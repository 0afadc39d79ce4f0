"""The answer first: every encoder on every task, how it stands to the baseline, at what price, and that in words."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from benchmarks.catalogue.suites import TASKS_OF
from benchmarks.history import TrainingStage
from benchmarks.runs.stages import own_stage
from reports.compare.score_difference import BASELINE
from reports.leaderboard.board import Leaderboard
from reports.leaderboard.lines import PROTOCOLS, Measured
from reports.leaderboard.section import Section, labelled
from reports.records.architectures import architecture_name
from reports.tables.cells import fixed
from reports.tables.column import NONE
from reports.text import thousands

MOST_ROWS = 30
"""An overview shows so many encoders: those measured on most tasks, the baseline among them."""
Standing = Literal["baseline", "ahead", "behind", "undecided", "no interval", "not compared"]
RANKED: tuple[Standing, ...] = ("baseline", "ahead", "behind", "undecided", "no interval")
"""Standings of rows that may be compared with the baseline, and so with one another."""


@dataclass(frozen=True)
class Heading:
    """A column: a task under one protocol."""

    section: Section
    protocol: str
    label: str
    """The task's name and, where it has several protocols, this one's."""

    @property
    def title(self) -> str:
        metric = self.section.task.primary
        return f"{self.label}: {metric.name} ({metric.unit})"


class Glance(NamedTuple):
    """An encoder on a task: the row, and how it stands to the baseline; None where no baseline was named."""

    entry: Measured
    standing: Standing | None
    score: str
    difference: str
    """Empty where none is taken."""
    worth: float
    """The score, negative where lower is better: the higher, the better."""

    @property
    def words(self) -> str:
        """`97.83, +1.10 (ahead)`; the score alone where there is nothing to compare it with."""
        if self.standing is None:
            return self.score
        known = f"{self.score}, {self.difference}" if self.difference else self.score
        return f"{known} ({self.standing})"


@dataclass(frozen=True)
class Encoder:
    """A row: one encoder, by the order of the headings; None where it was not measured."""

    name: str
    label: str
    glances: tuple[Glance | None, ...]
    mean_rank: float | None
    """Over all tasks, among the encoders that may be compared on all of them; None for the others."""
    price: str

    @property
    def is_baseline(self) -> bool:
        return any(glance.standing == "baseline" for glance in self.glances if glance)

    @property
    def rank(self) -> str:
        return fixed(self.mean_rank, 2) or NONE


@dataclass(frozen=True)
class Overview:
    """All encoders on all tasks; `more` are those that only the tables hold."""

    headings: tuple[Heading, ...]
    encoders: tuple[Encoder, ...]
    more: int

    @property
    def ranked(self) -> bool:
        return any(one.mean_rank is not None for one in self.encoders)

    @property
    def titles(self) -> list[str]:
        rank = ["Mean rank"] if self.ranked else []
        return ["Encoder", *(heading.title for heading in self.headings), *rank, PRICE]

    @property
    def rows(self) -> list[list[str]]:
        """Every cell as text, in the order of the titles."""
        found = []
        for one in self.encoders:
            cells = [glance.words if glance else NONE for glance in one.glances]
            found.append([one.name, *cells, *([one.rank] if self.ranked else []), one.price])
        return found


PRICE = "Training, before + tasks"
SHORTEST_HOURS = 0.5
"""Less of a GPU is given in seconds."""
LONGEST_SECONDS_H = 3
"""More hours at work than these are given in hours."""
Key = tuple[str, str, str]
"""What one encoder has in common on all tasks: label, architecture, and weights; random weights are all alike."""


@lru_cache(maxsize=1)
def overview_of(board: Leaderboard) -> Overview:
    """Return the overview of a leaderboard. Of an encoder with several rows under a task's protocol it shows the one
    that stands first in the task's table, where groups with the baseline come first."""
    headings = [heading for section in _shown(board.sections) for heading in _headings(section)]
    found: dict[Key, dict[int, Glance]] = defaultdict(dict)
    for place, heading in enumerate(headings):
        for entry in heading.section.entries:
            if entry.row.protocol == heading.protocol:
                found[_key(entry)].setdefault(place, _glance(heading.section, entry, board.request.baseline))
    ranks = _mean_ranks(found, headings) if board.request.baseline is not None else {}
    names = _names(found)
    order = sorted(found, key=lambda key: (ranks.get(key, math.inf), -len(found[key])))
    kept = _kept(order, found)
    places = range(len(headings))
    encoders = (
        Encoder(names[key], key[0], tuple(map(found[key].get, places)), ranks.get(key), _price(found[key].values()))
        for key in kept
    )
    return Overview(tuple(headings), tuple(encoders), len(order) - len(kept))


def _shown(sections: Sequence[Section]) -> Iterator[Section]:
    """Yield the sections but those of data sets for which a suite's own section stands."""
    names = {section.task.name for section in sections}
    in_suites = {part.name for suite, parts in TASKS_OF.items() if suite in names for part in parts}
    yield from (section for section in sections if section.task.name not in in_suites)


def _headings(section: Section) -> Iterator[Heading]:
    """Yield a heading for each protocol of a task, in the order of its groups."""
    protocols = list(dict.fromkeys(entry.row.protocol for entry in section.entries))
    name = section.task.name
    for each in protocols:
        alone = section.alone and len(protocols) == 1
        yield Heading(section, each, name if alone else labelled(name, PROTOCOLS.get(each, each)))


def _key(entry: Measured) -> Key:
    encoder = entry.row.encoder
    weights = "" if encoder.init_stage == "random" else encoder.sha256 or encoder.reference
    return (encoder.label, architecture_name(encoder.architecture), weights)


def _names(found: Mapping[Key, Mapping[int, Glance]]) -> dict[Key, str]:
    """Return each encoder's label and, where others share it, its collections, its architecture and the start of its
    weights' sha256."""
    names = {key: key[0] for key in found}
    whose = {
        key: " and ".join(sorted({one.entry.row.collection for one in glances.values()}))
        for key, glances in found.items()
    }
    for marks in (whose, {key: key[1] for key in found}, {key: key[2][:8] for key in found}):
        shared: dict[str, set[str]] = defaultdict(set)
        for key, name in names.items():
            shared[name].add(marks[key])
        for key, name in names.items():
            if len(shared[name]) > 1 and marks[key]:
                names[key] = f"{name} ({marks[key]})"
    return names


def _glance(section: Section, entry: Measured, baseline: str | None) -> Glance:
    metric = section.task.primary
    score = entry.row.last(metric.name)
    assert score is not None, "a row without its primary metric is left out before"
    standing = None if baseline is None else _standing(entry, higher_is_better=metric.higher_is_better)
    worth = score.mean if metric.higher_is_better else -score.mean
    return Glance(entry, standing, fixed(score.mean, 2), fixed(entry.comparison.delta, 2, "+"), worth)


def _standing(entry: Measured, *, higher_is_better: bool) -> Standing:
    comparison = entry.comparison
    if comparison == BASELINE:
        return "baseline"
    if comparison.delta is None:
        return "not compared"
    if comparison.interval is None:
        return "no interval"
    low, high = comparison.interval.low, comparison.interval.high
    if low <= 0 <= high:
        return "undecided"
    return "ahead" if (low > 0) == higher_is_better else "behind"


def _mean_ranks(found: Mapping[Key, Mapping[int, Glance]], headings: Sequence[Heading]) -> dict[Key, float]:
    """Return the mean rank over all tasks of the encoders that may be compared on all of them.

    None has one where there are not two encoders and two tasks.
    """
    everywhere = [
        key
        for key, glances in found.items()
        if len(glances) == len(headings) and all(glance.standing in RANKED for glance in glances.values())
    ]
    if len(everywhere) < 2 or len(headings) < 2:
        return {}
    ranks: dict[Key, list[float]] = defaultdict(list)
    for place in range(len(headings)):
        worths = {key: found[key][place].worth for key in everywhere}
        ordered = sorted(worths.values())
        for key, worth in worths.items():
            worse, not_better = bisect_left(ordered, worth), bisect_right(ordered, worth)
            ranks[key].append(len(ordered) - not_better + (not_better - worse + 1) / 2)
    return {key: math.fsum(each) / len(each) for key, each in ranks.items()}


def _kept(order: Sequence[Key], found: Mapping[Key, Mapping[int, Glance]]) -> list[Key]:
    """Return the first encoders, and the baseline's wherever they stand."""
    named = [k for k in order[MOST_ROWS:] if any(glance.standing == "baseline" for glance in found[k].values())]
    return [*order[:MOST_ROWS], *named[:MOST_ROWS]]


def _price(glances: Collection[Glance]) -> str:
    """Return the time of all trainings that led to an encoder, and of those on its tasks, over all seeds.

    GPU hours where all ran on GPUs and it is not over in minutes; else the time at work, in hours if long. What
    is not known is a question mark.
    """
    budgets = [glance.entry.budget for glance in glances if glance.entry.budget is not None]
    before = max((one.before for one in budgets), key=len, default=())
    unknown = not before and any(glance.entry.row.encoder.init_stage != "random" for glance in glances)
    runs = [run.record for glance in glances for run in glance.entry.row.runs]
    own = [own_stage(record) for record in runs]
    stages = (*before, *own)
    on_gpus = all(stage.gpus for stage in stages) and sum(stage.gpu_hours or 0 for stage in stages) > SHORTEST_HOURS
    long = on_gpus or sum(stage.seconds or 0 for stage in stages) > 3600 * LONGEST_SECONDS_H
    unit = "GPU h" if on_gpus else "h" if long else "s"
    times = ([_time(stage, unit) for stage in part] for part in (before, own))
    first, then = (_sum_of(part, 1 if long else 0) for part in times)
    return f"{'?' if unknown else first} + {then} {unit}"


def _time(stage: TrainingStage, unit: str) -> float | None:
    if unit == "GPU h":
        return stage.gpu_hours
    return stage.seconds if unit == "s" or stage.seconds is None else stage.seconds / 3600


def _sum_of(times: Sequence[float | None], digits: int) -> str:
    known = [time for time in times if time is not None]
    return thousands(fixed(math.fsum(known), digits)) if len(known) == len(times) else "?"
