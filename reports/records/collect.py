"""Sort the records that were found: transfers into rows, pretrainings, and what is left out with its reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.catalogue.suites import tasks_in
from benchmarks.catalogue.tasks import TASKS
from benchmarks.files.ahead import read_ahead
from benchmarks.files.divided import divided
from benchmarks.runs.find import Findings, FoundRun, LeftOut
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import EncoderUse, LoadReport, RunRecord
from reports.records.integrity import altered
from reports.records.recomputed import recomputed
from reports.records.rows import Row, TransferRun
from reports.records.signatures import Signature, signature_of
from reports.records.traces import NO_TRACES, Traces, files_beside, read_log, traces_of
from reports.text import count, tally

PRUNED = "pruned by a rung"
"""The short reason of a pretraining that its sweep ended as planned."""
LONGEST_ERROR = 500
"""So much of an error is shown; its record has the whole."""


@dataclass(frozen=True)
class Collected:
    """All records that were found, sorted. Every record is in exactly one of the three."""

    rows: tuple[Row, ...]
    pretrainings: tuple[FoundRun, ...]
    left_out: tuple[LeftOut, ...]
    signatures: Mapping[Path, Signature] = field(default_factory=dict)
    """Of the runs of collections, by their folders; empty where there is only one collection."""

    @property
    def account(self) -> str:
        """Where every record went, in one sentence whose numbers add up."""
        transfers = sum(len(row.runs) for row in self.rows)
        total = transfers + len(self.pretrainings) + len(self.left_out)
        parts = [f"{count(transfers, 'transfer run')} in {count(len(self.rows), 'row')}"]
        if self.pretrainings:
            parts.append(count(len(self.pretrainings), "pretraining run"))
        reasons = Counter(left.kind for left in self.left_out)
        parts.append(f"{len(self.left_out):,} left out" + (f" ({tally(reasons)})" if reasons else ""))
        return f"{count(total, 'record')} found: {'; '.join(parts)}."


def collect(findings: Findings, task: str | None = None) -> Collected:
    """Sort records into rows, pretrainings and those left out; `task`, or a suite, keeps only its transfers."""
    left_out = list(findings.left_out)
    signatures = {run.folder: signature_of(run.folder, None) for run in findings.runs if run.collection}
    homes = _homes(findings.runs)
    same: dict[tuple[str, str | None], list[TransferRun | FoundRun]] = defaultdict(list)
    for run, judged in zip(findings.runs, divided(partial(_judged, task=task), findings.runs), strict=True):
        if (fault := _signed_wrongly(run, signatures) or judged.fault) is not None:
            left_out.append(fault)
        else:
            same[_identity(run)].append(_usable(run, judged, homes[_made(run)]))
    usable = []
    for copies in same.values():
        first, others = _only_one(copies)
        usable += first
        left_out += others
    transfers = [run for run in usable if isinstance(run, TransferRun)]
    pretrainings = tuple(run for run in usable if isinstance(run, FoundRun))
    rows, repeated = _rows(transfers)
    return Collected(tuple(rows), pretrainings, (*left_out, *repeated), signatures)


def _identity(run: FoundRun) -> tuple[str, str | None]:
    """Return the run id and the encoder's label: each such pair may be there once."""
    return run.record.run_id, run.record.encoder.label if run.record.encoder else None


def _made(run: FoundRun) -> tuple[str, str]:
    """Return what tells a run from the same one made again: its id, and when it began."""
    return run.record.run_id, run.record.started_at


def _homes(runs: Iterable[FoundRun]) -> dict[tuple[str, str], list[str]]:
    """Return the names of the collections that each run was found in."""
    homes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for run in runs:
        if run.collection not in (found := homes[_made(run)]):
            found.append(run.collection)
    return homes


def _signed_wrongly(run: FoundRun, signatures: Mapping[Path, Signature]) -> LeftOut | None:
    found = signatures.get(run.folder)
    return _left(run, found.state, found.words) if found is not None and found.state == "wrongly signed" else None


def _only_one(copies: list[TransferRun | FoundRun]) -> tuple[list[TransferRun | FoundRun], list[LeftOut]]:
    """Return which of the runs with one id count, and the rest as left out.

    Copies count once. Where records differ, none can be believed, unless people of several collections each made the
    run at a time of their own: then all of them count, each in its collection.
    """
    if all(run.collection for run in copies):
        made: dict[str, list[TransferRun | FoundRun]] = defaultdict(list)
        for run in copies:
            made[run.record.started_at].append(run)
        if len(made) > 1:
            found = [_copies(each) for each in made.values()]
            kept = [run for runs, _ in found for run in runs]
            if len({run.collection for run in kept}) == len(kept):
                return kept, [left for _, others in found for left in others]
    return _copies(copies)


def _copies(copies: list[TransferRun | FoundRun]) -> tuple[list[TransferRun | FoundRun], list[LeftOut]]:
    """Return the first of the runs with one id, and the rest as left out; where they differ, none can be believed."""
    first, *others = copies
    if all(run.record == first.record for run in others):
        detail = f"{first.record.run_id} was already read from {first.folder}"
        return [first], [_left(run, "duplicate run id", detail) for run in others]
    places = ", ".join(str(run.folder) for run in copies)
    detail = f"{first.record.run_id} says different things in {places}"
    return [], [_left(run, "conflicting records", detail) for run in copies]


def _left(run: FoundRun | TransferRun, kind: str, detail: str = "") -> LeftOut:
    return LeftOut(str(run.folder), kind, detail, run.record.encoder.label if run.record.encoder else None)


class _Judged(NamedTuple):
    """Why a record is left out or, where it can be reported, what the files beside it show."""

    fault: LeftOut | None = None
    tested_on: str = ""
    traces: Traces = NO_TRACES
    recounted: bool = False


def _judged(runs: Sequence[FoundRun], task: str | None) -> list[_Judged]:
    return [_judge(run, task) for run in read_ahead(runs, lambda run: [RunFolder(run.folder).metrics])]


def _judge(run: FoundRun, task: str | None) -> _Judged:
    """Hold a record against itself and the files beside it."""
    record = run.record
    if record.status != "completed":
        return _faulty(run, *_unfinished(record))
    beside = files_beside(run.folder)
    if beside.odd is not None:
        return _faulty(run, "damaged", beside.odd)
    if record.kind == "pretrain":
        contradiction = altered(run.folder, record)
        return _Judged() if contradiction is None else _faulty(run, "altered record", contradiction)
    if record.task is None or record.encoder is None:
        return _faulty(run, "damaged", "a transfer record must name its task and its encoder")
    if task is not None and record.task.name not in tasks_in(task):
        return _faulty(run, "other task", f"{record.task.name}, asked for {task}")
    if record.task.name not in TASKS:
        return _faulty(run, "unknown task", f"{record.task.name} is not in this mimbench's catalogue")
    primary = TASKS[record.task.name].primary_metric
    if primary not in record.metrics:
        return _faulty(run, "no score", f"completed without {primary}")
    if fault := _load_fault(record.load_report, record.encoder):
        return _faulty(run, *fault)
    again, log = recomputed(RunFolder(run.folder), beside.names), read_log(run.folder)
    if contradiction := altered(run.folder, record, again.scores, log):
        return _faulty(run, "altered record", contradiction)
    traces = traces_of(run.folder, record, log, again.predictions)
    marked = traces._replace(marks=(*again.marks, *traces.marks))
    return _Judged(None, again.tested_on, marked, primary in again.scores)


def _faulty(run: FoundRun, kind: str, detail: str) -> _Judged:
    return _Judged(_left(run, kind, detail))


def _usable(run: FoundRun, judged: _Judged, homes: Sequence[str]) -> TransferRun | FoundRun:
    """Return a run without a fault, which was found in `homes`, as a transfer or a pretraining."""
    record = run.record
    if record.kind == "pretrain" or record.task is None or record.encoder is None:
        return run
    if len(homes) > 1:
        mark = f"this run is in {' and in '.join(homes)}"
        judged = judged._replace(traces=judged.traces._replace(marks=(*judged.traces.marks, mark)))
    return TransferRun(run.folder, record, record.task, record.encoder, run.collection, *judged[1:])


def _unfinished(record: RunRecord) -> tuple[str, str]:
    if record.pruned is not None:
        return PRUNED, record.pruned
    kind = "still started" if record.status == "started" else record.status
    error = (record.error or "").strip().splitlines()
    return kind, error[0][:LONGEST_ERROR] if error else f"begun {record.started_at}"


def _load_fault(report: LoadReport | None, encoder: EncoderUse) -> tuple[str, str] | None:
    """Return why a load report proves no transfer (kind, detail), or None. Random weights need no load report."""
    if encoder.init_stage == "random":
        return None
    if report is None:
        return "no load report", f"nothing proves that {encoder.reference} was loaded"
    if report.coverage_percent > 100:
        return "impossible load report", f"{report.coverage_percent:.2f} % loaded"
    if report.complete and report.coverage_percent >= 100 and report.loaded >= report.expected:
        return None
    faults = {"missing": report.missing, "unexpected": report.unexpected, "of another shape": report.mismatched}
    words = [f"{count(len(names), 'tensor')} {fault}" for fault, names in faults.items() if names]
    if not words and report.loaded < report.expected:
        words = [f"{report.loaded} of {count(report.expected, 'tensor')}"]
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
    return list(_over_pretrainings(rows)), repeated


def _over_pretrainings(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows, those together whose encoders were trained alike with different seeds."""
    alike: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        alike[row.first.key_over_pretrainings or row.first.row_key].append(row)
    for found in alike.values():
        if len({row.first.before for row in found}) < len(found):  # two encoders of one seed: nobody knows which is it
            yield from found
        else:
            found.sort(key=lambda row: row.first.before)
            yield Row(tuple(run for row in found for run in row.runs))
