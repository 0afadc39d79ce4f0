"""What a leaderboard says, before it has a format: tasks, groups of like rows, and what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.catalogue.published import Reference, load_file
from benchmarks.catalogue.suite_tasks import SUITE_TASKS
from benchmarks.catalogue.suites import TASKS_OF
from benchmarks.catalogue.task import Task
from benchmarks.catalogue.tasks import TASKS
from benchmarks.errors import UserError, did_you_mean
from benchmarks.runs.find import FoundRun, LeftOut
from reports.compare.early_verdict import probes_by_weights, verdicts
from reports.compare.like_for_like import Against, against, compare
from reports.compare.score_difference import Comparison
from reports.compare.student import holm
from reports.leaderboard.doubts import marks_of
from reports.leaderboard.lines import Measured, Shown, published_beside, published_of_setting
from reports.leaderboard.names import names_of
from reports.leaderboard.section import Group, Section
from reports.leaderboard.suites import Incomplete, suite_rows
from reports.leaderboard.varied import varied
from reports.records.ancestry import Budget, budget_of, other_data, test_images_seen
from reports.records.collect import Collected, collect
from reports.records.collections import find_collections
from reports.records.pretrainings import (
    of_pretrainings,
    origins,
    parents_nearby,
    pretraining_of,
    relative_step,
    transfers_of,
)
from reports.records.rows import FAMILIES, Conditions, Row
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
    pictures: bool = False
    """Whether the page shows test images with the classes that were predicted, where the images are at hand."""
    collections: tuple[str, ...] = ()
    """The names of the collections that `runs` are of, one for each; empty where they are not told apart."""
    reference_files: tuple[str, ...] = ()
    """Files of further published numbers."""
    made_by: str = ""
    """The program that wrote the files, with its version and commit; empty where they do not say it."""

    def recorded(self) -> dict[str, object]:
        """Return the fields as files record them; what later versions added is there only where it was asked for."""
        added = ("pictures", "collections", "reference_files", "made_by")
        return {name: value for name, value in asdict(self).items() if name not in added or value}


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """Everything a report shows."""

    request: Request
    collected: Collected
    sections: tuple[Section, ...]
    pretrainings: tuple[FoundRun, ...]
    """Completed pretrainings: first those among the runs that were asked for, then others beside them."""
    incomplete: tuple[Incomplete, ...] = ()
    """Encoders that have no row of a suite of which they were measured on some data sets."""
    own_references: tuple[Reference, ...] = ()
    """The numbers in the files of references that were asked for, shown or not."""

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
    own: tuple[Reference, ...]
    """Published numbers that a person brought."""
    budgets: Mapping[int, Budget]
    """Of each row, by its `id()`."""
    seen: Mapping[int, str | None]
    """A warning of each row, by its `id()`, whose test images a pretraining behind it trained on."""


def make(request: Request) -> Leaderboard:
    """Read the records and arrange them. Raises UserError for a wrong request."""
    return build(collect(find_collections(request.runs, request.collections), request.task), request)


def build(collected: Collected, request: Request) -> Leaderboard:
    """Arrange what was collected.

    Raises UserError for a baseline that no record is labelled with, and for a wrong file of references.
    """
    if request.baseline is not None:
        _check_baseline(collected, request.baseline)
    of_suites = list(suite_rows(collected.rows))
    rows = [*collected.rows, *(each for each in of_suites if isinstance(each, Row))]
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_task[row.task].append(row)
    nearby = parents_nearby(collected)
    pretrainings = (*collected.pretrainings, *of_pretrainings(nearby))
    known = origins(pretrainings)
    at_hand = (*pretrainings, *nearby, *transfers_of(collected))
    own_ancestors = {name: origins(at_hand, name) for name in ("", *request.collections)}
    budgets = {id(row): budget_of(row, own_ancestors[row.collection]) for row in rows}
    seen = {id(row): test_images_seen(row, budgets[id(row)], own_ancestors[row.collection]) for row in rows}
    own = tuple(dict.fromkeys(each for path in request.reference_files for each in load_file(Path(path))))
    absent = Comparison(note=_absent(collected, request.baseline))
    baselines = frozenset({row.encoder.sha256 for row in collected.rows if row.encoder.label == request.baseline})
    around = _Around(request, absent, baselines - {None}, known, own_ancestors[""], own, budgets, seen)
    tasks = {**TASKS, **SUITE_TASKS}
    sections = tuple(
        section
        for name, rows_of in sorted(by_task.items(), key=_place)
        for section in _sections(tasks[name], rows_of, around)
    )
    incomplete = tuple(each for each in of_suites if isinstance(each, Incomplete))
    return Leaderboard(request, collected, sections, pretrainings, incomplete, own)


def _place(item: tuple[str, list[Row]]) -> tuple[int, bool]:
    """Return where a task stands in the catalogue, whose order the tables have; a suite stands before its data sets."""
    name = item[0]
    suite = name in TASKS_OF
    return list(TASKS).index(TASKS_OF[name][0].name if suite else name), not suite


def _check_baseline(collected: Collected, baseline: str) -> None:
    labels = {row.encoder.label for row in collected.rows}
    labels_left_out = {left.label for left in collected.left_out if left.label is not None}
    if labels and baseline not in labels | labels_left_out:
        raise UserError.about("--baseline", baseline, "the label of an encoder in RUNS", did_you_mean(baseline, labels))


def _sections(task: Task, rows: Sequence[Row], around: _Around) -> Iterator[Section]:
    """Yield a task's tables, one for each family of protocols, each with what was published of such protocols."""
    request = around.request
    families = [family for family in FAMILIES if any(row.family == family for row in rows)]
    published = published_beside(task.name, rows, request.references, request.unverified, around.own)
    for family in families:
        beside = [one for one in published if (one.family if one.family in families else families[0]) == family]
        section = _section(task, [row for row in rows if row.family == family], rows, around)
        yield replace(section, family=family, alone=len(families) == 1, published=tuple(beside))


def _section(task: Task, rows: Sequence[Row], of_task: Sequence[Row], around: _Around) -> Section:
    """Return the table of `rows`, which are compared with the baseline's among all rows of the task."""
    request = around.request
    baselines = _baselines(of_task, around)
    grouped: dict[Conditions, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.conditions].append(row)
    differing = varied([alike[0].recipe for alike in grouped.values()])
    groups = [
        _group(task, conditions, alike, baselines, around, differing.get(conditions.recipe_digest, ""))
        for conditions, alike in grouped.items()
    ]
    groups.sort(key=lambda group: _order(group, baselines))
    probes = probes_by_weights(of_task)
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
    return Section(task, FAMILIES[0], True, tuple(groups), (), tuple(found))


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
        beside = against(row, baselines) if comparison.delta is not None and row not in baselines else None
        mark = _other_data(row, beside, around.budgets) if isinstance(beside, Against) else None
        whose = _others_baseline(row, beside) if isinstance(beside, Against) else ()
        pretraining = pretraining_of(row, known)
        record = None if pretraining is None else pretraining.record
        cost = None if record is None or reference is None else relative_step(record, reference.record)
        same = published_of_setting(
            row, task.primary_metric, record, around.request.references, around.request.unverified
        )
        budget = around.budgets[id(row)]
        made = around.request.baseline if row in baselines and row.encoder.label != around.request.baseline else None
        seen, marks = around.seen[id(row)], (*whose, *doubts[id(row)])
        entries.append(
            Measured(row, names[id(row)], comparison, record, cost, budget, mark, setting, same, made, seen, marks)
        )
    return Group(conditions, tuple(entries))


def _other_data(row: Row, found: Against, budgets: Mapping[int, Budget]) -> str | None:
    """Return the mark of a row whose encoder saw other data than that of the baseline; None where it saw the same."""
    if not (budgets[id(row)].stated or budgets[id(found.row)].stated):
        return None
    return other_data(budgets[id(row)], budgets[id(found.row)], found.row.encoder.label)


def _others_baseline(row: Row, found: Against) -> tuple[str, ...]:
    """Return a mark of a row that is compared with a baseline of another collection; empty where it is not."""
    other = found.row.collection
    return () if other == row.collection else (f"compared with the baseline of {other}",)


def _score(row: Row, task: Task) -> float:
    score = row.last(task.primary_metric)
    assert score is not None, "a row without its primary metric is left out before"
    return score.mean


def _absent(collected: Collected, baseline: str | None) -> str:
    reasons = Counter(left.kind for left in collected.left_out if left.label == baseline)
    why = f" (left out: {tally(reasons)})" if reasons else ""
    return f"the baseline has no usable run for this task{why}"
