"""From records to rows: one row is one encoder under one set of conditions, over its seeds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from benchmarks.catalogue.tasks import TASKS
from benchmarks.config import digest_of
from benchmarks.encoders import Architecture
from benchmarks.runs.folder import read_record
from benchmarks.runs.record import EncoderUse, LoadReport, RecipeUse, RunRecord, TaskUse
from reports.records.find import Findings, FoundRun, LeftOut
from reports.records.integrity import altered
from reports.text import count


class Conditions(NamedTuple):
    """What two rows must share to be compared; the encoder is what may differ."""

    task_version: int
    recipe_digest: str
    image_size_px: int
    fingerprint: str


@dataclass(frozen=True)
class TransferRun:
    """A completed transfer with everything a row needs."""

    folder: Path
    record: RunRecord
    task: TaskUse
    encoder: EncoderUse

    @property
    def conditions(self) -> Conditions:
        record = self.record
        return Conditions(self.task.version, record.recipe.digest, record.image_size_px, record.data.fingerprint)

    @property
    def row_key(self) -> tuple[str, ...]:
        encoder = self.encoder
        identity = encoder.sha256 or encoder.reference
        architecture = digest_of(encoder.architecture)
        conditions = map(str, self.conditions)
        return (self.task.name, encoder.label, identity, architecture, encoder.init_stage, *conditions)


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1; None for n = 1) over n seeds."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """The completed runs of one encoder under one set of conditions, one run a seed, ordered by seed."""

    runs: tuple[TransferRun, ...]

    @property
    def first(self) -> TransferRun:
        return self.runs[0]

    @property
    def task(self) -> str:
        return self.first.task.name

    @property
    def encoder(self) -> EncoderUse:
        return self.first.encoder

    @property
    def architecture(self) -> Architecture:
        return self.encoder.architecture

    @property
    def recipe(self) -> RecipeUse:
        return self.first.record.recipe

    @property
    def conditions(self) -> Conditions:
        return self.first.conditions

    @property
    def seeds(self) -> list[int]:
        return [run.record.seed for run in self.runs]

    @cached_property
    def records(self) -> list[RunRecord]:
        return [run.record for run in self.runs]

    def folder(self, seed: int) -> Path:
        """Return where the run with this seed lies."""
        return next(run.folder for run in self.runs if run.record.seed == seed)

    def scores(self, metric: str) -> dict[int, float]:
        """Return the last epoch's value of `metric` by seed; seeds without it are absent."""
        return {record.seed: record.metrics[metric].last for record in self.records if metric in record.metrics}

    def last(self, metric: str) -> Spread | None:
        return spread(self.scores(metric).values())

    def best(self, metric: str) -> Spread | None:
        """Return the best epochs' values of `metric`; None where it was measured once a run."""
        values = (record.metrics[metric].best for record in self.records if metric in record.metrics)
        return spread(value for value in values if value is not None)


def spread(values: Iterable[float]) -> Spread | None:
    """Return mean, sample standard deviation and n; None when there is no value."""
    found = list(values)
    if not found:
        return None
    return Spread(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))


@dataclass(frozen=True)
class Collected:
    """What the records came to. Every record is in exactly one of the three."""

    rows: tuple[Row, ...]
    pretrainings: tuple[FoundRun, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def transfers(self) -> int:
        return sum(len(row.runs) for row in self.rows)


def collect(findings: Findings, task: str | None = None) -> Collected:
    """Sort records into rows, pretrainings and those left out; `task` keeps only the transfers to that task."""
    left_out = list(findings.left_out)
    same: dict[tuple[str, str | None], list[TransferRun | FoundRun]] = defaultdict(list)
    for run in findings.runs:
        judged = _judge(run, task)
        if isinstance(judged, LeftOut):
            left_out.append(judged)
        else:
            same[_identity(run)].append(judged)
    usable = []
    for copies in same.values():
        first, others = _only_one(copies)
        usable += first
        left_out += others
    transfers = [run for run in usable if isinstance(run, TransferRun)]
    pretrainings = tuple(run for run in usable if isinstance(run, FoundRun))
    rows, repeated = _rows(transfers)
    return Collected(tuple(rows), pretrainings, (*left_out, *repeated))


def _identity(run: FoundRun) -> tuple[str, str | None]:
    """Return what may be there once: a run under one name of its encoder."""
    return run.record.run_id, run.record.encoder.label if run.record.encoder else None


def _only_one(copies: list[TransferRun | FoundRun]) -> tuple[list[TransferRun | FoundRun], list[LeftOut]]:
    """Return the first of the runs with one id, and the rest as left out; where they differ, none can be believed."""
    first, *others = copies
    if all(run.record == first.record for run in others):
        detail = f"{first.record.run_id} was already read from {first.folder}"
        return [first], [_left(run, "duplicate run id", detail) for run in others]
    places = ", ".join(str(run.folder) for run in copies)
    detail = f"{first.record.run_id} says different things in {places}"
    return [], [_left(run, "conflicting records", detail) for run in copies]


def parents_nearby(collected: Collected) -> list[FoundRun]:
    """Return completed pretrainings beside the runs that name them as parents, where RUNS did not include them."""
    known = {run.record.run_id for run in collected.pretrainings}
    nearby = {}
    for run in (run for row in collected.rows for run in row.runs):
        for parent in run.record.parents:
            folder = run.folder.parent / parent
            if parent not in known and parent not in nearby and (found := _completed_pretraining(folder)):
                nearby[parent] = found
    return list(nearby.values())


def origins(pretrainings: Iterable[FoundRun]) -> dict[str, FoundRun]:
    """Return pretrainings by what a transfer knows of them: the run id, and the sha256 of the encoder they left."""
    found = {}
    for run in pretrainings:
        found[run.record.run_id] = run
        if run.record.exported_sha256 is not None:
            found.setdefault(run.record.exported_sha256, run)
    return found


def pretraining_of(row: Row, known: Mapping[str, FoundRun]) -> FoundRun | None:
    """Return the pretraining that the row's encoder came of, without a training in between; `known` as `origins`."""
    direct = {record.parents[-1] for record in row.records if record.parents}
    by_id = known.get(direct.pop()) if len(direct) == 1 else None
    return by_id or known.get(row.encoder.sha256 or "")


def _completed_pretraining(folder: Path) -> FoundRun | None:
    try:
        record = read_record(folder)
    except (OSError, ValueError):
        return None
    whole = record is not None and record.kind == "pretrain" and record.status == "completed"
    return FoundRun(folder, record) if record is not None and whole else None


def _left(run: FoundRun | TransferRun, kind: str, detail: str = "") -> LeftOut:
    return LeftOut(str(run.folder), kind, detail, run.record.encoder.label if run.record.encoder else None)


def _judge(run: FoundRun, task: str | None) -> TransferRun | FoundRun | LeftOut:
    """Return what a record is good for."""
    record = run.record
    if record.status != "completed":
        return _left(run, *_unfinished(record))
    if record.kind == "pretrain":
        return run
    if record.task is None or record.encoder is None:
        return _left(run, "damaged", "a transfer record must name its task and its encoder")
    if task is not None and record.task.name != task:
        return _left(run, "other task", f"{record.task.name}, asked for {task}")
    if record.task.name not in TASKS:
        return _left(run, "unknown task", f"{record.task.name} is not in this mimbench's catalogue")
    primary = TASKS[record.task.name].primary_metric
    if primary not in record.metrics:
        return _left(run, "no score", f"completed without {primary}")
    if fault := _load_fault(record.load_report, record.encoder):
        return _left(run, *fault)
    if contradiction := altered(run.folder, record):
        return _left(run, "altered record", contradiction)
    return TransferRun(run.folder, record, record.task, record.encoder)


def _unfinished(record: RunRecord) -> tuple[str, str]:
    kind = "still started" if record.status == "started" else record.status
    error = (record.error or "").strip().splitlines()
    return kind, error[0] if error else f"begun {record.started_at}"


def _load_fault(report: LoadReport | None, encoder: EncoderUse) -> tuple[str, str] | None:
    """Say why a load report proves no transfer. Random weights are loaded from nowhere and need none."""
    if encoder.init_stage == "random":
        return None
    if report is None:
        return "no load report", f"nothing proves that {encoder.reference} was loaded"
    if report.complete and report.coverage_percent >= 100:
        return None
    faults = {"missing": report.missing, "unexpected": report.unexpected, "of another shape": report.mismatched}
    words = [f"{count(len(names), 'tensor')} {fault}" for fault, names in faults.items() if names]
    return "incomplete load report", ", ".join([f"{report.coverage_percent:.2f} % loaded", *words])


def _rows(usable: list[TransferRun]) -> tuple[list[Row], list[LeftOut]]:
    """Group runs into rows of one run a seed; the run that finished first stands for its seed."""
    groups: dict[tuple[str, ...], dict[int, TransferRun]] = defaultdict(dict)
    repeated = []
    for run in sorted(usable, key=lambda run: (run.record.finished_at or "", run.record.run_id)):
        group, seed = groups[run.row_key], run.record.seed
        if seed in group:
            detail = f"seed {seed} of this row is run {group[seed].record.run_id}, which finished first"
            repeated.append(LeftOut(str(run.folder), "repeated seed", detail, run.encoder.label))
        else:
            group[seed] = run
    rows = [Row(tuple(runs[seed] for seed in sorted(runs))) for _, runs in sorted(groups.items())]
    return rows, repeated
