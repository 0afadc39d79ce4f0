"""Which runs an encoder came from, and where their records lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.runs.find import FoundRun
from benchmarks.runs.folder import read_record
from benchmarks.runs.record import RunRecord
from reports.records.collect import Collected
from reports.records.rows import Row


def parents_nearby(collected: Collected) -> list[FoundRun]:
    """Return completed runs beside those that name them as parents, where RUNS did not include them."""
    known = {run.record.run_id for run in (*collected.pretrainings, *transfers_of(collected))}
    nearby: dict[str, FoundRun] = {}
    missing: set[Path] = set()
    for run in (run for row in collected.rows for run in row.runs):
        for parent in run.record.parents:
            folder = run.folder.parent / parent
            if parent in known or parent in nearby or folder in missing:
                continue
            if (found := _completed(folder)) is not None and found.record.run_id == parent:
                nearby[parent] = replace(found, collection=run.collection)
            else:
                missing.add(folder)
    return list(nearby.values())


def transfers_of(collected: Collected) -> list[FoundRun]:
    """Return the runs of all rows."""
    return [FoundRun(run.folder, run.record, run.collection) for row in collected.rows for run in row.runs]


def origins(runs: Iterable[FoundRun], collection: str = "") -> dict[str, FoundRun]:
    """Return runs by what the record of a later one has of them: the run id, and the sha256 of their encoder.

    Of runs that people of several collections made under one id, that of `collection` is returned.
    """
    found: dict[str, FoundRun] = {}
    for run in sorted(runs, key=lambda run: run.collection == collection) if collection else runs:
        found[run.record.run_id] = run
        if run.record.exported_sha256 is not None:
            found.setdefault(run.record.exported_sha256, run)
    return found


def pretraining_of(row: Row, known: Mapping[str, FoundRun]) -> FoundRun | None:
    """Return the pretraining that made the row's encoder, with no training in between, out of `known` (`origins`)."""
    direct = {record.parents[-1] for record in row.records if record.parents}
    by_weights = known.get(row.encoder.sha256 or "")
    if by_weights is not None and direct == {by_weights.record.run_id}:
        return by_weights
    by_id = known.get(direct.pop()) if len(direct) == 1 else None
    return by_id or by_weights


def of_pretrainings(runs: Iterable[FoundRun]) -> list[FoundRun]:
    """Return those of the runs that are pretrainings."""
    return [run for run in runs if run.record.kind == "pretrain"]


def relative_step(record: RunRecord, baseline: RunRecord) -> float | None:
    """Return a pretraining's time per step over the baseline's; None where the two were not timed alike.

    Alike are pretrainings of the same global batch on as many devices of the same name.
    """
    alike = [_timed(each) for each in (record, baseline)]
    if alike[0] != alike[1] or not record.seconds_per_step or not baseline.seconds_per_step:
        return None
    return record.seconds_per_step / baseline.seconds_per_step


def _timed(record: RunRecord) -> tuple[object, ...]:
    training = record.recipe.resolved.get("training")
    batch_size = training.get("batch_size") if isinstance(training, dict) else None
    return batch_size, record.processes, record.environment.device


def _completed(folder: Path) -> FoundRun | None:
    try:
        record = read_record(folder)
    except (OSError, ValueError, UserError):
        return None
    return FoundRun(folder, record) if record is not None and record.status == "completed" else None
