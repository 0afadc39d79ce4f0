"""Whether, after a start of a stage, its Slurm job goes back into the queue, to go on under the same id.

The last line of the batch script decides it: `python -m slurm.stage.requeue EXIT_CODE FOLDER REQUEST STAGE...`, with
`setup:` before the code where the cluster file's `setup` failed, so that the stage never began. The script outlives
whatever kills the stage's own processes, so this covers a stage that was killed, or never began, as well. Where Slurm
itself ends the job (scancel, preemption, a lost node), Slurm decides what follows.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

from benchmarks.errors import BUSY_CODE, CRASHED_CODE, FATAL_CODES, STOPPED_CODE, WRONG_CODE, UserError, WorkFailed
from slurm.controller.commands import ask
from slurm.controller.jobs import cancel_jobs, find_job, read_jobs
from slurm.graph.stages import Pipeline, Stage
from slurm.stage.notify import notify
from slurm.stage.request import Request, is_from, parse
from slurm.state.attempt import Attempt, RankEnd
from slurm.state.folder import Manifest, PipelineFolder
from slurm.state.inputs import inputs_digest
from slurm.state.last_words import last_words
from slurm.state.observe import observe, saved_step

NOTICE = signal.SIGUSR2
"""What Slurm sends before the time limit: the signal that submitit asks for."""
NO_SIGNAL = 0
SETUP_LINES = 3
"""How many last lines of its log are quoted where `setup` failed."""


@contextlib.contextmanager
def signals_handled(patience_s: float | None) -> Iterator[set[int]]:
    """Yield a set that holds, after the block, the numbers of the signals that this process handled in it.

    Any handler counts, even where Python code does not run any more: the interpreter itself writes the numbers into a
    pipe (signal.set_wakeup_fd). When the block is not left within `patience_s` seconds of NOTICE, it hangs: the process
    prints where (faulthandler) and ends with exit code 1, while there is time to requeue its job.
    """
    numbers: set[int] = set()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)

    def listen() -> None:
        while NO_SIGNAL not in numbers:
            new = os.read(reader, 4096)
            numbers.update(new)
            if NOTICE in new and patience_s is not None:
                faulthandler.dump_traceback_later(patience_s, exit=True)

    listener = threading.Thread(target=listen, daemon=True)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener.start()
    try:
        yield numbers
    finally:
        signal.set_wakeup_fd(before)
        os.write(writer, bytes([NO_SIGNAL]))
        listener.join()
        faulthandler.cancel_dump_traceback_later()
        os.close(reader)
        os.close(writer)


def this_job() -> str:
    """Return the id of the Slurm job around this process: `17`, in an array `17_2`.

    SLURM_JOB_ID will not do: that of an array's last task is the id of the whole array.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array is not None else os.environ["SLURM_JOB_ID"]


def this_start() -> str:
    """Return the id of the Slurm job around this process and how often it was requeued: `17.2`, `17_2.0`."""
    return f"{this_job()}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"


def new_attempt(folder: PipelineFolder, pipeline: Pipeline, stage: Stage, start: str) -> Attempt:
    """Return an attempt that begins now, with the number of fruitless starts of the same job just before it."""
    saved, last = saved_step(folder, stage), folder.read_attempt(stage.name)
    same_job = last is not None and last.job is not None and _job_of(last.job) == _job_of(start)
    return Attempt(
        inputs_digest=inputs_digest(folder, pipeline, stage),
        host=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        pid=os.getpid(),
        started_at=time.time(),
        job=start,
        saved_step=saved,
        fruitless=last.fruitless_after(saved) if last is not None and same_job else 0,
    )


def _job_of(start: str) -> str:
    return start.partition(".")[0]


def main(argv: list[str]) -> int:
    """Requeue the job or not, after a start that srun reports as ended with an exit code; return the job's own."""
    where, _, number = argv[0].rpartition(":")
    code, (folder, asked, name) = int(number), parse(argv[1:])
    if where:  # an `exit 0` in `setup` ends the job before the stage as well
        code = code or CRASHED_CODE
    if not is_from(folder, asked):  # nothing here is this job's
        return code or WRONG_CODE
    try:
        manifest = folder.read_manifest()
        manifest.enter_workdir()
        if where:
            return _end_in_setup(folder, manifest, name, asked, code)
        return _end(folder, manifest, name, asked, code)
    except (UserError, PermissionError) as error:
        print(error, file=sys.stderr)
        return code or CRASHED_CODE
    except (WorkFailed, OSError) as error:  # no room to write: what the stage has done counts all the same
        with contextlib.suppress(OSError):  # in the log neither
            print(error, file=sys.stderr)
        return code


def _end_in_setup(folder: PipelineFolder, manifest: Manifest, name: str, asked: Request, code: int) -> int:
    """Write down that `setup` failed, unless Slurm is ending the job, which says so itself; return the exit code."""
    if not _goes_on_in_slurm(folder, asked):
        return code
    stage = manifest.pipeline.stage(name)
    words = last_words(folder.newest_log(name), most=SETUP_LINES)
    ended = {
        "finished_at": time.time(),
        "exit_code": CRASHED_CODE,
        "setup_failed": f"exit code {code}" + (f": {words}" if words else ""),
    }
    attempt = new_attempt(folder, manifest.pipeline, stage, this_start()).model_copy(update=ended)
    folder.write_attempt(name, attempt)
    return _end(folder, manifest, name, asked, code)


def _end(folder: PipelineFolder, manifest: Manifest, name: str, asked: Request, code: int) -> int:
    """Requeue the job or not; return its exit code."""
    if code == BUSY_CODE:  # the attempt is that of another process
        return code
    pipeline = manifest.pipeline
    stage, restarts = pipeline.stage(name), asked.restarts or 0
    attempt = _as_it_ended(folder, pipeline, stage, code)
    if not _may_go_on(attempt, code) or not _goes_on_in_slurm(folder, asked):
        if stage.decides and code == 0:
            _withdraw_pruned(folder, manifest)
        notify(asked.notify, folder, manifest, name)
        return code
    if attempt.gave_way:  # srun asked it to, because another node's task was lost: `code` is that task's
        attempt = attempt.model_copy(update={"exit_code": code})
        folder.write_attempt(name, attempt)
    fruitless = attempt.fruitless_after(saved_step(folder, stage))
    if fruitless <= restarts:
        requeue_this_job()
        return code
    folder.write_attempt(name, attempt.model_copy(update={"given_up_after": fruitless}))
    print(f"given up: {fruitless} starts in a row have left no new checkpoint", file=sys.stderr)
    notify(asked.notify, folder, manifest, name)
    return code


def _withdraw_pruned(folder: PipelineFolder, manifest: Manifest) -> None:
    """Cancel the jobs of stages that this rung has ended: they wait for its job, and would be given nodes for nothing.

    One that is not cancelled finds the decision when it starts, and ends at once.
    """
    try:
        waiting = read_jobs(folder, manifest).by_stage
        pipeline = manifest.pipeline
        ended = [
            job for name, job in waiting.items() if observe(folder, pipeline, pipeline.stage(name)).state == "pruned"
        ]
        cancel_jobs(ended)
    except WorkFailed as error:
        print(f"the jobs of pruned stages were not withdrawn: {error}", file=sys.stderr)


def _as_it_ended(folder: PipelineFolder, pipeline: Pipeline, stage: Stage, code: int) -> Attempt:
    """Return this start's attempt; how it ended is added where the stage's process could not write that any more."""
    attempt = folder.read_attempt(stage.name)
    if attempt is None or attempt.job != this_start():
        attempt = new_attempt(folder, pipeline, stage, this_start())
    if attempt.finished_at is not None or attempt.skipped is not None:
        return attempt
    # A stage that names its failure (FATAL_CODES) has also written it: this one hung, or something around it broke.
    exit_code = CRASHED_CODE if code in (0, *FATAL_CODES) else code
    ended = {"finished_at": time.time(), "exit_code": exit_code, "cause": _killed(attempt, code)}
    attempt = attempt.model_copy(update=ended)
    folder.write_attempt(stage.name, attempt)
    return attempt


def _killed(attempt: Attempt, code: int) -> RankEnd | None:
    """Return the end of a rank that was killed by a signal, which srun's exit code gives as 128 + signal, or None."""
    if code - 128 not in set(signal.Signals):
        return None
    return RankEnd(rank=0, host=attempt.host, exit_code=128 - code, at=time.time())


def _may_go_on(attempt: Attempt, code: int) -> bool:
    """Tell whether another start could end better than this one."""
    if code == 0 or attempt.exit_code in FATAL_CODES or attempt.skipped is not None:
        return False
    return not attempt.gave_way or code != STOPPED_CODE


def _goes_on_in_slurm(folder: PipelineFolder, asked: Request) -> bool:
    """Tell whether the job around this process is the stage's, and Slurm is not ending it: what is cancelled stays so.

    The variables that name the job may be those of another job, in which this one was submitted.
    """
    try:
        job = find_job(this_job())
    except WorkFailed:
        return True
    if job is None or job.entry.state != "RUNNING":
        return False
    if job.pipeline == folder.id and job.token in (asked.token, None):
        return True
    print(f"not requeued: job {job.id} ({job.name}) is none of this pipeline's", file=sys.stderr)
    return False


def requeue_this_job() -> None:
    """Have Slurm end this job and start it again under the same id, with its children still waiting for it.

    It kills the job at once, so everything must be saved and written down before. Where Slurm refuses, this prints why.
    """
    try:
        ask(["scontrol", "requeue", this_job()], "`mimbench pipeline resume` goes on")
    except WorkFailed as error:
        print(f"not requeued: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
