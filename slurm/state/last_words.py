"""What a stage's log says last: its most telling line, and what Slurm wrote when it ended the job."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import printable
from benchmarks.files.regular import regular

READ_BYTES = 2**16
"""Of the end of a log."""
LONGEST = 200
"""Characters of a line that is quoted."""
ENDED = re.compile(
    r"slurmstepd\S*: error: \*\*\* (?P<what>JOB|STEP) \S+ ON \S+ "
    r"(?:CANCELLED AT (?P<at>[\d:T-]+)(?: DUE TO (?P<why>[A-Z ]+?))?|FAILED .*?) \*\*\*"
)
NOISE = re.compile(r"^(?:submitit |srun: |slurmstepd\S*: error: \*\*\* |\$ mimbench |not requeued|given up|Traceback )")
TELLING = re.compile(
    r"error|exception|fail|fatal|killed|denied|refused|no such|not found|cannot|no space|memory|unknown|invalid",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class SlurmsEnd:
    """That Slurm ended a job, or a step of it, in its own words."""

    why: str
    """TIME LIMIT, PREEMPTION, NODE FAILURE; empty for scancel."""
    of_job: bool
    """Whether the whole job was ended; else a step of it alone, as where the batch script is gone."""
    at: float
    """Seconds since the epoch, by the node's clock; infinite where Slurm does not say."""


def ends_by_slurm(log: Path | None, since: float = 0.0) -> list[SlurmsEnd]:
    """Return each time, in order, that Slurm ended the job or a step of it, as the end of its log says."""
    found = [SlurmsEnd(end["why"] or "", end["what"] == "JOB", _time(end["at"])) for end in ENDED.finditer(_end(log))]
    return [end for end in found if end.at >= since - 1]


def last_words(log: Path | None, most: int = 1) -> str:
    """Return the last telling line of a log, escaped and bounded; empty where there is none.

    A line that speaks of an error comes before later ones that do not. With `most` above 1 it is the last lines, as
    they are, joined by ` | `.
    """
    lines = [line.strip() for line in _end(log).splitlines() if line.strip() and not NOISE.match(line)]
    if most > 1:
        return " | ".join(map(_quoted, lines[-most:]))
    telling = [line for line in lines if TELLING.search(line)] or lines
    return _quoted(telling[-1]) if telling else ""


def _time(text: str | None) -> float:
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S")) if text is not None else float("inf")
    except (ValueError, OverflowError):
        return float("inf")


def _quoted(line: str) -> str:
    shown = printable(line)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."


def _end(log: Path | None) -> str:
    """Return the end of a log, or nothing where there is none that can be read."""
    if log is None:
        return ""
    try:
        with regular(log).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - READ_BYTES))
            return file.read(READ_BYTES).decode(errors="replace")
    except OSError:
        return ""
