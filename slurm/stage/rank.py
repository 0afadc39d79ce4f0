"""One rank of a stage as a process of its own, a child of the stage's job: `python -m slurm.stage.rank VERB ...`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType

from benchmarks import ranks
from benchmarks.errors import CRASHED_CODE
from slurm.stage.program import run_verb


def main(argv: list[str], parent: int) -> int:
    """Run a verb as a rank of the job whose process id is `parent`; return its exit code.

    A crash with a traceback has an exit code of its own: unlike a failure that the verb reports, another start may
    cure it.
    """
    die_with(parent)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, _stop_before_work)
    try:
        return run_verb(argv)
    except Exception:
        traceback.print_exc()
        return CRASHED_CODE


def die_with(parent: int) -> None:
    """Have this process killed when its parent dies, even where that happened before it could ask for it."""
    ranks.signalled_at_death_of_parent(signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)


def _stop_before_work(_signal: int, _frame: FrameType | None) -> None:
    # While a verb is being imported there is nothing to save; the training loop replaces this by its own handler.
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], int(sys.argv[1])))
