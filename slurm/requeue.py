"""A stage that stopped at the time limit goes on in the same Slurm job, which is put back into the queue."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

NOTICE = signal.SIGUSR2
"""What Slurm sends before the time limit, and submitit's name for it."""


@contextlib.contextmanager
def heard() -> Iterator[set[int]]:
    """Yield a set that holds, after the block, the numbers of the signals that this process handled in it.

    Whoever handles them: the interpreter itself writes them down (signal.set_wakeup_fd).
    """
    numbers: set[int] = set()
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield numbers
    finally:
        signal.set_wakeup_fd(before)
        with contextlib.suppress(BlockingIOError):
            numbers |= set(os.read(reader, 65_536))
        os.close(reader)
        os.close(writer)


def requeue_this_job() -> bool:
    """Have Slurm end this job and start it again under the same id, with its children still waiting for it.

    Return whether Slurm will. It kills the job at once, so everything must be saved and written down before.
    """
    job = os.environ["SLURM_JOB_ID"]
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"not requeued: {error}", file=sys.stderr)
        return False
    if done.returncode:
        print(f"not requeued: {done.stderr.strip()}\n  submitting the pipeline again goes on", file=sys.stderr)
    return done.returncode == 0
