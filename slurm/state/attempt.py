"""What a stage's process writes about one start of it: when it began, where its ranks met, how it ended."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from benchmarks.config import Amount, Config, Count
from benchmarks.errors import FATAL_CODES, STOPPED_CODE, WRONG_CODE


class Meeting(Config):
    """Where the ranks of a stage find each other."""

    number: int
    """Identifies the meeting: the time in ns at which the first node called it."""
    address: str
    port: int = Field(ge=1, le=65535)


class RankEnd(Config):
    """How a rank ended."""

    rank: Count
    host: str
    exit_code: int = Field(ge=-64, le=255)
    """The process's exit code; negative: the number of the signal that killed it."""
    at: Amount
    """Seconds since the epoch, by the clock of its node."""
    last_words: str = ""
    """What it wrote last to its standard error; empty for rank 0, whose output is the stage's log."""

    @property
    def failed(self) -> bool:
        return self.exit_code not in (0, STOPPED_CODE)

    @property
    def is_in_the_record(self) -> bool:
        """Whether the run's record states the reason: rank 0 writes the record."""
        return self.rank == 0 and self.exit_code > 0

    @property
    def stage_code(self) -> int:
        """The exit code that the stage gets when this rank is why it ended; as in a shell, 128 + signal."""
        return 128 - self.exit_code if self.exit_code < 0 else self.exit_code

    def describe(self) -> str:
        """Return in one line which rank ended, on which host, and how."""
        who = f"rank {self.rank} on {self.host}"
        if self.exit_code < 0:
            return f"{who} was killed by {_signal_name(-self.exit_code)}"
        return f"{who} ended with exit code {self.exit_code}" + (f": {self.last_words}" if self.last_words else "")


def _signal_name(number: int) -> str:
    """Return a signal's name; the ones for real time have none."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def first_cause(ends: Iterable[RankEnd]) -> RankEnd | None:
    """Return the end that brought the others about, or None when every rank ended well.

    A rank that lost a peer raises an error, often before the news of the peer arrives from its node. It is never
    killed by a signal for that, and never finds a reason in words: whatever ended so comes first.
    """

    def order(end: RankEnd) -> tuple[bool, bool, bool, bool, float]:
        code = end.exit_code
        return not end.failed, code > 0, code != WRONG_CODE, code not in FATAL_CODES, end.at

    return min((end for end in ends if end.exit_code != 0), key=order, default=None)


class Attempt(Config):
    """One start of a stage, written by the stage's own process when it begins and when it ends."""

    schema_version: Literal[1] = 1
    inputs_digest: str
    """The sha256 (hex) of everything that decides what the stage does: command, recipe, what its parents left."""
    host: str
    pid: Count
    started_at: Amount
    """Seconds since the epoch, UTC."""
    finished_at: Amount | None = None
    exit_code: int | None = Field(default=None, ge=-64, le=255)
    skipped: str | None = None
    """Why the command was not run at all."""
    setup_failed: str | None = None
    """How the cluster file's `setup` failed before the stage began: its exit code and the last lines of the log."""
    job: str | None = None
    """The Slurm job and how often it was requeued, `17.2`; on this machine, the process id."""
    saved_step: Count = 0
    """The step of the run's last checkpoint when this start began."""
    fruitless: Count = 0
    """How many starts of the job in a row, just before this one, left no new checkpoint; those that gave way are not
    counted."""
    noticed: bool = False
    """Whether Slurm had announced that the time limit was near."""
    given_up_after: Count | None = None
    """How many starts in a row, this one included, left no new checkpoint, where that ended the job for good."""
    meeting: Meeting | None = None
    cause: RankEnd | None = None
    """The rank that made it fail, where it had several."""

    @property
    def gave_way(self) -> bool:
        """Whether it was asked to stop long before the time limit: preempted, requeued, cancelled."""
        return self.exit_code == STOPPED_CODE and not self.noticed

    def fruitless_after(self, saved_step: int) -> int:
        """Return how many starts in a row left no new checkpoint, this one included, whose last is of `saved_step`.

        A start that gave way is no reason to give up: it does not count.
        """
        return 0 if saved_step > self.saved_step else self.fruitless + (not self.gave_way)
