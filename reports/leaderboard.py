"""What a leaderboard says, before it has a format: tasks, groups of like rows, notes, and what was left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.errors import UserError, did_you_mean
from benchmarks.tasks import TASKS, Task
from reports.columns import Block, Column, Entry, columns_for
from reports.compare import EXACT_LIMIT, RESAMPLES, RNG_SEED, Comparison, compare
from reports.find import FoundRun, LeftOut
from reports.rows import Collected, Conditions, Row, parents_nearby
from reports.text import count


@dataclass(frozen=True)
class Group:
    """Rows that agree in all conditions and may be compared with one another, best first."""

    conditions: Conditions
    entries: tuple[Entry, ...]

    @property
    def recipe(self) -> str:
        return self.entries[0].row.recipe.name

    @property
    def words(self) -> str:
        """Say what the rows share."""
        shared = self.conditions
        return (
            f"task version {shared.task_version}, recipe {self.recipe} ({shared.recipe_digest[:8]}), "
            f"{shared.image_size_px} px, data: {shared.fingerprint}"
        )


@dataclass(frozen=True)
class Section:
    """One task's table."""

    task: Task
    groups: tuple[Group, ...]
    columns: tuple[Column, ...]

    @property
    def entries(self) -> list[Entry]:
        return [entry for group in self.groups for entry in group.entries]

    def in_blocks(self, *blocks: Block) -> list[Column]:
        return [column for column in self.columns if column.block in blocks]


@dataclass(frozen=True)
class Leaderboard:
    """Everything a report shows."""

    sections: tuple[Section, ...]
    pretrainings: tuple[FoundRun, ...]
    """Completed pretrainings, those first that were asked for."""
    left_out: tuple[LeftOut, ...]
    summary: str
    account: str
    notes: tuple[str, ...]


def build(collected: Collected, baseline: str | None) -> Leaderboard:
    """Arrange what was collected. Raises UserError for a baseline that no record is labelled with."""
    if baseline is not None:
        _check_baseline(collected, baseline)
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in collected.rows:
        by_task[row.task].append(row)
    sections = tuple(_section(TASKS[name], rows, collected, baseline) for name, rows in sorted(by_task.items()))
    pretrainings = (*collected.pretrainings, *parents_nearby(collected))
    notes = tuple(_notes(sections, baseline))
    summary = _summary(sections, baseline)
    return Leaderboard(sections, pretrainings, collected.left_out, summary, account(collected), notes)


def _check_baseline(collected: Collected, baseline: str) -> None:
    labels = {row.encoder.label for row in collected.rows}
    labels_left_out = {left.label for left in collected.left_out if left.label is not None}
    if labels and baseline not in labels | labels_left_out:
        raise UserError.about("--baseline", baseline, "the label of an encoder in RUNS", did_you_mean(baseline, labels))


def _section(task: Task, rows: Sequence[Row], collected: Collected, baseline: str | None) -> Section:
    baselines = [row for row in rows if row.encoder.label == baseline]
    grouped: dict[Conditions, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row.conditions].append(row)
    absent = Comparison(note=_absent(collected, baseline))
    groups = [_group(task, conditions, like, baselines, absent) for conditions, like in grouped.items()]
    groups.sort(key=lambda group: (not any(entry.row in baselines for entry in group.entries), -len(group.entries)))
    measured = {name for row in rows for record in row.records for name in record.metrics}
    return Section(task, tuple(groups), tuple(columns_for(task, baseline, measured)))


def _group(
    task: Task, conditions: Conditions, rows: Sequence[Row], baselines: Sequence[Row], absent: Comparison
) -> Group:
    labels = Counter(row.encoder.label for row in rows)
    direction = 1 if not task.metric(task.primary_metric).higher_is_better else -1
    ordered = sorted(rows, key=lambda row: (direction * _score(row, task), row.encoder.label))
    entries = []
    for row in ordered:
        mark = (row.encoder.sha256 or row.encoder.reference)[:8]
        name = row.encoder.label if labels[row.encoder.label] == 1 else f"{row.encoder.label} ({mark})"
        comparison = compare(row, baselines, task.primary_metric) if baselines else absent
        entries.append(Entry(row, name, comparison))
    return Group(conditions, tuple(entries))


def _score(row: Row, task: Task) -> float:
    score = row.last(task.primary_metric)
    assert score is not None, "a row without its primary metric is left out before"
    return score.mean


def _absent(collected: Collected, baseline: str | None) -> str:
    reasons = Counter(left.kind for left in collected.left_out if left.label == baseline)
    why = f" (left out: {_tally(reasons)})" if reasons else ""
    return f"the baseline has no usable run for this task{why}"


def _tally(reasons: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(reasons.items()))


def account(collected: Collected) -> str:
    """Say where every record went, in one sentence whose numbers add up."""
    total = collected.transfers + len(collected.pretrainings) + len(collected.left_out)
    parts = [f"{count(collected.transfers, 'transfer run')} in {count(len(collected.rows), 'row')}"]
    if collected.pretrainings:
        parts.append(f"{count(len(collected.pretrainings), 'pretraining run')} as loss curves")
    reasons = Counter(left.kind for left in collected.left_out)
    parts.append(f"{len(collected.left_out)} left out" + (f" ({_tally(reasons)})" if reasons else ""))
    return f"{count(total, 'record')} found: {'; '.join(parts)}."


def _summary(sections: Sequence[Section], baseline: str | None) -> str:
    if not sections:
        return "No run could be compared."
    told = []
    for section in sections:
        runs = [len(entry.row.runs) for entry in section.entries]
        each = str(min(runs)) if min(runs) == max(runs) else f"{min(runs)} to {max(runs)}"
        seeds = "1 seed" if each == "1" else f"{each} seeds"
        told.append(f"{count(len(runs), 'row')} on {section.task.name} over {seeds} each")
    against = f", against {baseline} wherever the comparison is like for like" if baseline is not None else ""
    return "; ".join(told) + against + "."


def _notes(sections: Sequence[Section], baseline: str | None) -> list[str]:
    """Return the footnotes on method that this table needs."""
    if not sections:
        return []
    notes = [
        "The score is the last epoch's, as mean ± sample standard deviation (n - 1) over n seeds; n = 1 has none. "
        "The best epoch stands beside it: it is chosen on the evaluation data and therefore flatters. What was "
        "measured once, at the end of a training or without one, has no best epoch.",
        "Rows in one group share task version, recipe, image size and data; rows of different groups are not "
        "comparable. Time counts all attempts, set-up included; time and speed are means over the runs.",
        f"{TRANSFER_PROOF} Loaded is the share of the encoder's parameters that came from the checkpoint.",
    ]
    if baseline is None:
        labels = sorted({entry.row.encoder.label for section in sections for entry in section.entries})
        return [*notes, f"No deltas: name a baseline with --baseline LABEL (here: {', '.join(labels)})."]
    return [*notes, *_interval_notes(sections)]


TRANSFER_PROOF = "A run whose load report is absent or incomplete is left out, never scored; random weights need none."


def _interval_notes(sections: Sequence[Section]) -> list[str]:
    found = [entry.comparison for section in sections for entry in section.entries]
    intervals = [comparison.interval for comparison in found if comparison.interval is not None]
    notes = ["Differences are taken before rounding."] if any(one.delta is not None for one in found) else []
    exact = sorted({interval.resamples for interval in intervals if interval.exact})
    if exact:
        sizes = " or ".join(f"{number:,}" for number in exact)
        notes.append(
            f"The 95 % interval is a percentile bootstrap of the differences paired by seed: all {sizes} resamples "
            f"were enumerated, as is done up to {EXACT_LIMIT:,}."
        )
    if any(not interval.exact for interval in intervals):
        notes.append(
            f"For more than 6 seeds the 95 % percentile bootstrap of the paired differences draws {RESAMPLES:,} "
            f"resamples (random seed {RNG_SEED})."
        )
    if 27 in exact:
        notes.append(
            "With 3 seeds the interval is rough: it is the range of the three differences, which holds the true "
            "median difference in 75 % of cases, not in 95 %."
        )
    return notes
