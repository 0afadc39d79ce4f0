"""Which of a run's processes this one is, as its launcher says; `benchmarks.engine.processes.exchange` joins them.

The environment variables are those of torchrun, so that it can launch a verb too.
"""

from __future__ import annotations

import ctypes
import os
import signal

from benchmarks.errors import UserError

PR_SET_PDEATHSIG = 1
TORCHRUN = "TORCHELASTIC_RUN_ID"
"""The environment variable by which a process knows that torchrun started it."""


def world_size() -> int:
    """Return the number of processes that work on this run together."""
    return _number("WORLD_SIZE", 1, at_least=1)


def rank() -> int:
    """Return this process's number, 0 to world_size - 1."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """Return this process's number on its node."""
    return _number("LOCAL_RANK", 0) if world_size() > 1 else 0


def local_size() -> int:
    """Return the number of processes that work on this run on this node."""
    return _number("LOCAL_WORLD_SIZE", 1, at_least=1) if world_size() > 1 else 1


def is_main() -> bool:
    """Tell whether this process writes the run's files and prints its messages."""
    return rank() == 0


def share(batch_size: int) -> slice:
    """Return this rank's rows of a global batch."""
    size = batch_size // world_size()
    return slice(rank() * size, (rank() + 1) * size)


def signalled_at_death_of_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies, however that happens (prctl(2), Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def _number(name: str, default: int, at_least: int = 0) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or int(text) < at_least:
        rule = f"a whole number, {at_least} or more"
        raise UserError.about(f"environment variable {name}", text, rule, "unset it, or start the ranks with torchrun")
    return int(text)
