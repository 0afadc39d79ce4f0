"""Whether a record still says what its run wrote: its id follows from its contents, its scores stand in the log."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.runs.folder import RunFolder, run_id
from benchmarks.runs.record import RunRecord
from reports.records.logs import last_values

LOGGED_DIGITS = 1e-8
"""The log keeps nine significant digits of what the record has in full."""


def altered(folder: Path, record: RunRecord) -> str | None:
    """Return what contradicts a completed transfer's record; None where nothing does."""
    if (expected := transfer_id(record)) != record.run_id:
        return f"its id is {record.run_id}, its contents make {expected}"
    logged = last_values(RunFolder(folder).metrics, set(record.metrics))
    for name, value in logged.items():
        if not math.isclose(value, record.metrics[name].last, rel_tol=LOGGED_DIGITS, abs_tol=1e-12):
            return f"{name} is {record.metrics[name].last} in the record, {value} at the end of metrics.jsonl"
    return None


def transfer_id(record: RunRecord) -> str:
    """Return the id that `mimbench transfer` gives to the work that a record describes."""
    task, encoder = record.task, record.encoder
    assert task is not None, "only for transfers"
    assert encoder is not None, "only for transfers"
    return run_id(
        f"{task.name}-{record.recipe.name}",
        recipe=record.recipe.digest,
        data=record.data.fingerprint,
        seed=record.seed,
        task=task.name,
        version=task.version,
        encoder=encoder.sha256 or encoder.reference,
        architecture=encoder.architecture.identity_digest(),
    )
