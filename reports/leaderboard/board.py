"""What a leaderboard says, before it has a format: tasks, groups of like rows, and what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.catalogue.tasks import TASKS, Task
from benchmarks.errors import UserError, did_you_mean
from reports.compare.early_verdict import Verdict, probes_by_weights, verdicts
from reports.compare.like_for_like import Against, against, compare
from reports.compare.score_difference import Comparison
from reports.compare.student import holm
from reports.leaderboard.doubts import marks_of
from reports.leaderboard.lines import Line, Measured, Published, Shown, published_beside, published_of_setting
from reports.leaderboard.names import names_of
from reports.leaderboard.varied import varied
from reports.records.ancestry import Budget, budget_of, other_data, test_images_seen
from reports.records.collect import Collected, collect
from reports.records.find import FoundRun, LeftOut, find_runs
from reports.records.pretrainings import (
    of_pretrainings,
    origins,
    parents_nearby,
    pretraining_of,
    relative_step,
    transfers_of,
)
from reports.records.rows import Conditions, Row
from reports.text import tally


@dataclass(frozen=True)
class Request:
    """What was asked for: enough to make the same leaderboard again from the same records."""

    runs: tuple[str, ...]
    baseline: str | None = None
    task: str | None = None
    references: Shown = "same"
    unverified: bool = False
    intervals: Literal["student_t"] = "student_t"
    """The method of the intervals; reports that do not name it have percentile bootstraps."""
    layout: Literal[2] = 2
    """How pages and text are laid out; reports that do not name it have no overview, and text of any width."""
    holm: bool = False
    """Whether the p of every difference to the baseline stands beside it, corrected for their number by Holm."""


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
    """One task's table."""

    task: Task
    groups: tuple[Group, ...]
    published: tuple[Published, ...]
    """Published results, which nothing here is compared with."""
    verdicts: tuple[Verdict, ...]
    """How well cheap signals agree with the score, one after another for each group."""

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


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Everything a report shows."""

    request: Request
    collected: Collected
    sections: tuple[Section, ...]
    pretrainings: tuple[FoundRun, ...]
    """Completed pretrainings: first those among the runs that were asked for, then others beside them."""

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return self.collected.left_out


@dataclass(frozen=True)
class _Around:
    """What the rows of every task are arranged with."""

    request: Request
    absent: Comparison
    """Of rows of a task that the baseline has no row for."""
    baselines: frozenset[str | None]
    """The sha256 of the baseline's weights on all tasks."""
    known: Mapping[str, FoundRun]
    """The pretrainings, by all ids and weights under which a row may name them."""
    ancestors: Mapping[str, FoundRun]
    """Every completed run at hand, in the same way."""
    budgets: Mapping[int, Budget]
    """Of each row, by its `id()`."""
    seen: Mapping[int, str | None]
    """A warning of each row, by its `id()`, whose test images a pretraining behind it trained on."""


def make(request: Request) -> Leaderboard:
    """Read the records and arrange them. Raises UserError for a wrong request."""
    return build(collect(find_runs(request.runs), request.task), request)


def build(collected: Collected, request: Request) -> Leaderboard:
    """Arrange what was collected. Raises UserError for a baseline that no record is labelled with."""
    if request.baseline is not None:
        _check_baseline(collected, request.baseline)
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in collected.rows:
        by_task[row.task].append(row)
    nearby = parents_nearby(collected)
    pretrainings = (*collected.pretrainings, *of_pretrainings(nearby))
    known = origins(pretrainings)
    ancestors = origins((*pretrainings, *nearby, *transfers_of(collected)))
    budgets = {id(row): budget_of(row, ancestors) for row in collected.rows}
    seen = {id(row): test_images_seen(row, budgets[id(row)], ancestors) for row in collected.rows}
    absent = Comparison(note=_absent(collected, request.baseline))
    baselines = frozenset({row.encoder.sha256 for row in collected.rows if row.encoder.label == request.baseline})
    around = _Around(request, absent, baselines - {None}, known, ancestors, budgets, seen)
    sections = tuple(_section(TASKS[name], rows, around) for name, rows in sorted(by_task.items(), key=_place))
    return Leaderboard(request, collected, sections, pretrainings)


def _place(item: tuple[str, list[Row]]) -> int:
    """Return where a task stands in the catalogue, whose order the tables have."""
    return list(TASKS).index(item[0])


def _check_baseline(collected: Collected, baseline: str) -> None:
    labels = {row.encoder.label for row in collected.rows}
    labels_left_out = {left.label for left in collected.left_out if left.label is not None}
    if labels and baseline not in labels | labels_left_out:
        raise UserError.about("--baseline", baseline, "the label of an encoder in RUNS", did_you_mean(baseline, labels))


def _section(task: Task, rows: Sequence[Row], around: _Around) -> Section:
    request = around.request
    baselines = _baselines(rows, around)
    grouped: dict[Conditions, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.conditions].append(row)
    differing = varied([alike[0].recipe for alike in grouped.values()])
    groups = [
        _group(task, conditions, alike, baselines, around, differing.get(conditions.recipe_digest, ""))
        for conditions, alike in grouped.items()
    ]
    groups.sort(key=lambda group: _order(group, baselines))
    published = published_beside(task.name, rows, request.references, request.unverified)
    probes = probes_by_weights(rows)
    found = [
        verdict
        for group in groups
        for verdict in verdicts(
            task,
            f"recipe {group.recipe}{group.varied}",
            [(entry.name, entry.row) for entry in group.entries],
            probes,
            around.known,
        )
    ]
    if request.holm:
        groups = _corrected(groups)
    return Section(task, tuple(groups), published, tuple(found))


def _baselines(rows: Sequence[Row], around: _Around) -> list[Row]:
    """Return a task's rows of the baseline: those of its label, or else the row, the one of most seeds, whose training
    made the baseline's encoder. On the task that it was trained on, a supervised encoder is that row."""
    named = [row for row in rows if row.encoder.label == around.request.baseline]
    made = [row for row in rows if around.baselines & {record.exported_sha256 for record in row.records}]
    return named or sorted(made, key=lambda row: (-len(row.runs), row.encoder.label))[:1]


def _corrected(groups: Sequence[Group]) -> list[Group]:
    """Return groups whose entries have the p of their differences corrected for the number of all in the table."""
    entries = [entry for group in groups for entry in group.entries]
    known = {id(one): one.comparison.interval.p for one in entries if one.comparison.interval is not None}
    tested = {key: p for key, p in known.items() if p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [
        replace(group, entries=tuple(replace(one, p_holm=corrected.get(id(one))) for one in group.entries))
        for group in groups
    ]


def _order(group: Group, baselines: Sequence[Row]) -> tuple[bool, int, str, Conditions]:
    """Return the key by which groups are sorted: those with a baseline, then large ones, then by name."""
    compared = any(entry.row in baselines for entry in group.entries)
    return (not compared, -len(group.entries), group.recipe, group.conditions)


def _group(
    task: Task,
    conditions: Conditions,
    rows: Sequence[Row],
    baselines: Sequence[Row],
    around: _Around,
    setting: str,
) -> Group:
    names, known = names_of(rows), around.known
    direction = 1 if not task.primary.higher_is_better else -1
    ordered = sorted(rows, key=lambda row: (direction * _score(row, task), row.encoder.label))
    reference = next((found for row in baselines if (found := pretraining_of(row, known))), None)
    entries, doubts = [], marks_of(rows, baselines, around.ancestors)
    for row in ordered:
        comparison = compare(row, baselines, task.primary_metric) if baselines else around.absent
        mark = _other_data(row, baselines, comparison, around.budgets)
        pretraining = pretraining_of(row, known)
        record = None if pretraining is None else pretraining.record
        cost = None if record is None or reference is None else relative_step(record, reference.record)
        same = published_of_setting(
            row, task.primary_metric, record, around.request.references, around.request.unverified
        )
        budget = around.budgets[id(row)]
        made = around.request.baseline if row in baselines and row.encoder.label != around.request.baseline else None
        seen, marks = around.seen[id(row)], tuple(doubts[id(row)])
        entries.append(
            Measured(row, names[id(row)], comparison, record, cost, budget, mark, setting, same, made, seen, marks)
        )
    return Group(conditions, tuple(entries))


def _other_data(
    row: Row, baselines: Sequence[Row], comparison: Comparison, budgets: Mapping[int, Budget]
) -> str | None:
    """Return the mark of a row whose encoder saw other data than that of the baseline; None without a difference."""
    found = against(row, baselines) if comparison.delta is not None and row not in baselines else None
    if not isinstance(found, Against) or not (budgets[id(row)].stated or budgets[id(found.row)].stated):
        return None
    return other_data(budgets[id(row)], budgets[id(found.row)], found.row.encoder.label)


def _score(row: Row, task: Task) -> float:
    score = row.last(task.primary_metric)
    assert score is not None, "a row without its primary metric is left out before"
    return score.mean


def _absent(collected: Collected, baseline: str | None) -> str:
    reasons = Counter(left.kind for left in collected.left_out if left.label == baseline)
    why = f" (left out: {tally(reasons)})" if reasons else ""
    return f"the baseline has no usable run for this task{why}"
