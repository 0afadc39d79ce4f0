"""Whether a record still says what its run wrote: its id follows from its contents, its scores stand in the log."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.runs.folder import RunFolder
from benchmarks.runs.identity import recorded_transfer_id
from benchmarks.runs.metrics_log import last_values
from benchmarks.runs.record import RunRecord

LOGGED_DIGITS = 1e-8
"""The log keeps nine significant digits of what the record has in full."""


def altered(folder: Path, record: RunRecord) -> str | None:
    """Return what contradicts a completed transfer's record; None where nothing does."""
    if (expected := recorded_transfer_id(record)) != record.run_id:
        return f"its id is {record.run_id}, its contents make {expected}"
    logged = last_values(RunFolder(folder).metrics, set(record.metrics))
    for name, value in logged.items():
        if not math.isclose(value, record.metrics[name].last, rel_tol=LOGGED_DIGITS, abs_tol=1e-12):
            return f"{name} is {record.metrics[name].last} in the record, {value} at the end of metrics.jsonl"
    return None
