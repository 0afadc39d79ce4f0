"""What the files beside a record show of it: what is odd in them, and traces that no second training can leave."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from benchmarks.files.regular import KINDS
from benchmarks.runs.folder import METRICS, RECORD
from benchmarks.runs.metrics_log import read_evaluations, rounded
from benchmarks.runs.record import RunRecord

MOST_LOG_BYTES = 2**23
"""Of a longer log only the end is looked through."""
LARGEST_LOG_BYTES = 2**28
"""A run with a larger log is refused, since curves need the whole: it would be one of a million lines."""
STEP, PLAN = re.compile(rb'"step":\s*(\d{1,18})'), re.compile(rb'"total_steps":\s*(\d{1,18})')
TIMED = re.compile(rb'"step":\s*(\d{1,18})\b[^\n]*?"images_per_second":\s*(\d{1,18}(?:\.\d{1,18})?)')
LOGGED_DIGITS = 1e-8
"""The log keeps nine significant digits of what the record has in full."""
MEASURED = b'"images_per_second"'
"""What log steps have that was measured: no two trainings have the same to nine digits."""


class Traces(NamedTuple):
    """What speaks of how a run came to be."""

    marks: tuple[str, ...] = ()
    """What is odd about it, in words."""
    own: tuple[str, ...] = ()
    """What only one training can leave, as the kind in words and a digest: `log 0123456789ab`."""


NO_TRACES = Traces()


class Beside(NamedTuple):
    """What lies beside a record."""

    names: frozenset[str]
    """Of the files that reports read, as far as they were looked through."""
    odd: str | None
    """Which of them cannot be read to its end: no ordinary file, or a log of any size; None where all can."""


def files_beside(folder: Path) -> Beside:
    """Look through a run's folder, none of whose files is opened."""
    names = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith((".csv", ".json", ".jsonl")):
                continue
            names.add(entry.name)
            if (odd := _odd(entry)) is not None:
                return Beside(frozenset(names), odd)
    return Beside(frozenset(names), None)


def _odd(entry: os.DirEntry[str]) -> str | None:
    if entry.is_file(follow_symlinks=False) and entry.name != METRICS:
        return None
    try:
        found = entry.stat()
    except OSError as error:
        return f"{entry.name}: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"{entry.name} is {KINDS.get(stat.S_IFMT(found.st_mode), 'no file')} where an ordinary file belongs"
    if entry.name == METRICS and found.st_size > LARGEST_LOG_BYTES:
        return f"{METRICS} has {found.st_size:,} bytes, and at most {LARGEST_LOG_BYTES:,} are read"
    return None


def traces_of(folder: Path, record: RunRecord, log: bytes, predictions: str) -> Traces:
    """Return what the record's times, its log, its weights and its predictions show.

    `predictions` is the digest of all predictions with their confidences, empty where chance may have made them.
    """
    trained = isinstance(record.recipe.resolved.get("training"), dict)
    log = log if trained else b""
    own = [f"log {_digest(line)}"] if (line := _measured_line(log)) else []
    mine = record.exported_sha256
    own += [f"weights {mine[:12]}"] if trained and mine and record.encoder and mine != record.encoder.sha256 else []
    own += [f"predictions {predictions}"] if trained and predictions else []
    best = _of_best(record, folder / METRICS, log)
    return Traces((*_of_times(record), *_of_log(record, log), *best), tuple(own))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _of_times(record: RunRecord) -> Iterator[str]:
    """Yield where a run ended before it began; years and hours that are none are damage, too."""
    if record.finished_at is None:
        return
    try:
        started, finished = (datetime.fromisoformat(text) for text in (record.started_at, record.finished_at))
        backwards = finished < started
    except (ValueError, TypeError):
        yield f"when it ran cannot be read in {RECORD}"
        return
    if backwards:
        yield f"ended at {record.finished_at}, before it began at {record.started_at}"


def _of_log(record: RunRecord, log: bytes) -> Iterator[str]:
    """Yield where a log lacks its beginning, goes back, or has lines of a training of another length."""
    steps = [int(found) for found in STEP.findall(log)]
    every = _log_every(record)
    if steps and every is not None and steps[0] > every and not record.skipped_steps and len(log) < MOST_LOG_BYTES:
        yield f"log begins at step {steps[0]}, with a line every {every} steps"
    back = next(((one, two) for one, two in itertools.pairwise(steps) if two < one), None)
    if back is not None:
        yield f"log goes back from step {back[0]} to {back[1]}"
    plans = sorted({int(found) for found in PLAN.findall(log)})
    if len(plans) > 1:
        yield f"log has lines of trainings of {' and '.join(map(str, plans[:3]))} steps"


def _of_best(record: RunRecord, path: Path, log: bytes) -> Iterator[str]:
    """Yield which best score no evaluation in the log has; `log` is its end, of most logs all."""
    for name, value in record.metrics.items():
        if value.best is None or (not log and value.best == value.last):
            continue
        text = f'"{name}": {rounded(value.best)!r}'.encode(errors="replace")
        if text + b"," in log or text + b"}" in log:  # as the log's own writer has it, so that nothing need be parsed
            continue
        values = (logged for _, _, logged in read_evaluations(path, name))
        if not any(math.isclose(logged, value.best, rel_tol=LOGGED_DIGITS) for logged in values):
            yield f"the best {name}, {value.best:.9g}, is in no evaluation of its log"


def logged_seconds(log: bytes, batch_size: int) -> float:
    """Return how long the steps took whose speed is in the log, by that speed."""
    seconds, before = 0.0, None
    for step, speed in ((int(step), float(speed)) for step, speed in TIMED.findall(log)):
        if before is not None and step > before and speed > 0:
            seconds += (step - before) * batch_size / speed
        before = step
    return seconds


def _log_every(record: RunRecord) -> int | None:
    training = record.recipe.resolved.get("training")
    every = training.get("log_every_steps") if isinstance(training, dict) else None
    return every if isinstance(every, int) else None


def _measured_line(log: bytes) -> bytes:
    """Return the newest line with a measured speed; empty where there is none."""
    at = log.rfind(MEASURED)
    if at < 0:
        return b""
    end = log.find(b"\n", at)
    return log[log.rfind(b"\n", 0, at) + 1 : end if end >= 0 else len(log)].strip()


def read_log(folder: Path) -> bytes:
    """Return a run's log, the end of it if it is longer than MOST_LOG_BYTES; empty where it cannot be read."""
    try:
        file = os.open(f"{folder}/{METRICS}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        size = os.fstat(file).st_size
        return os.pread(file, min(size, MOST_LOG_BYTES), max(0, size - MOST_LOG_BYTES))
    except OSError:
        return b""
    finally:
        os.close(file)
