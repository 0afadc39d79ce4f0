"""What submitit runs: one stage, on this machine or once on every node of a job.

Only the pipeline's folder, the stage's name and the number of ranks are pickled; everything else is read from files, so
a job that waited for days runs the code and the command of the day it starts.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from benchmarks.rundir import completed
from slurm import team
from slurm.attempt import STOPPED_CODE, WRONG_CODE, Attempt, RankEnd
from slurm.folder import Held, Manifest, PipelineFolder, hold, is_held
from slurm.requeue import NOTICE, heard, requeue_this_job
from slurm.stages import Pipeline, Stage
from slurm.state import BAD, announced_run, inputs_digest, observe, reached_step

FAILED, BUSY = 1, 75
SHARED_FILES_S = 30


@dataclass(frozen=True)
class Outcome:
    """How a stage's command ended."""

    code: int
    cause: RankEnd | None = None
    """Which of several ranks failed first."""
    progressed: bool = False
    """Whether it is further than it was when it started."""


def enter(pipeline_dir: str, stage: str, ranks_per_node: int = 1) -> None:
    """Run a stage and end the process with its exit code, so that Slurm's `afterok` sees a failure."""
    sys.exit(run_stage(pipeline_dir, stage, ranks_per_node))


def run_stage(pipeline_dir: str, stage: str, ranks_per_node: int = 1) -> int:
    """Run the stage's command, in this process or in one process for each rank; return its exit code.

    It does not run when a parent is not completed (Slurm's dependencies cannot be trusted alone), nor when another
    process is at work on it.
    """
    signal.signal(signal.SIGTERM, _stop_before_work)
    signal.signal(signal.SIGUSR2, _stop_before_work)
    folder = PipelineFolder(Path(pipeline_dir))
    manifest = folder.read_manifest()
    os.chdir(manifest.workdir)
    layout = team.layout_here(ranks_per_node)
    if layout.node > 0:
        signal.signal(signal.SIGTERM, _leave_to_the_first_node)
        signal.signal(signal.SIGUSR2, _leave_to_the_first_node)
        team.follow(folder, stage, layout, manifest.entry(stage).stage.argv)
        return 0
    try:
        with heard() as signals, hold(folder.lock(stage), f"stage {stage}"):
            outcome = _run_held(folder, manifest, manifest.entry(stage).stage, layout)
    except Held as error:
        print(error, file=sys.stderr)
        return BUSY
    # A stage that got no further would do so for ever.
    if outcome.code == STOPPED_CODE and NOTICE in signals and outcome.progressed and layout.on_slurm:
        requeue_this_job()
    return outcome.code


def _leave_to_the_first_node(_signal: int, _frame: FrameType | None) -> None:
    pass  # every node gets the signal; while no rank runs here, what follows from it is decided there


def _stop_before_work(_signal: int, _frame: FrameType | None) -> None:
    # submitit ignores SIGTERM and requeues on SIGUSR2; while a verb is still being imported there is nothing to save,
    # and stopping is right. A training loop replaces this by its own handler, which saves first.
    raise KeyboardInterrupt


def _run_held(folder: PipelineFolder, manifest: Manifest, stage: Stage, layout: team.Layout) -> Outcome:
    pipeline = manifest.pipeline
    why_not = _unfit_parent(folder, pipeline, stage) if stage.after == "success" else None
    attempt = Attempt(
        inputs_digest=inputs_digest(folder, pipeline, stage),
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at=time.time(),
        skipped=why_not,
        job=layout.job if layout.world_size > 1 else None,
    )
    folder.write_attempt(stage.name, attempt)
    if why_not is not None:
        print(f"skipped: {why_not}", file=sys.stderr)
        return Outcome(FAILED)
    before = reached_step(folder, stage)
    print("$ " + shlex.join(stage.command), flush=True)

    def in_ranks(argv: Sequence[str]) -> Outcome:
        first = team.lead(folder, stage.name, attempt, layout, argv)
        return Outcome(0) if first is None else Outcome(first.stage_code, first if first.failed else None)

    outcome = _run_verb(folder, stage, in_ranks if layout.world_size > 1 else _in_this_process)
    if outcome.cause is not None:
        print(outcome.cause.tell(), file=sys.stderr)
    ended = {"finished_at": time.time(), "exit_code": outcome.code, "cause": outcome.cause}
    folder.write_attempt(stage.name, attempt.model_copy(update=ended))
    return replace(outcome, progressed=reached_step(folder, stage) > before)


def _unfit_parent(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> str | None:
    """Return why the stage must not run, or None. On a cluster, give a shared file system time to show the records."""
    deadline = time.monotonic() + (SHARED_FILES_S if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else 0)
    while True:
        states = {name: observe(folder, pipeline, pipeline.stage(name)).state for name in stage.needs}
        unfit = next((name for name, state in states.items() if state != "completed"), None)
        if unfit is None:
            return None
        if time.monotonic() >= deadline:
            return f"parent {unfit} {states[unfit] if states[unfit] in BAD else 'is not completed'}"
        time.sleep(1)


def _run_verb(folder: PipelineFolder, stage: Stage, call: Callable[[Sequence[str]], Outcome]) -> Outcome:
    """Run the stage's verb; when another pipeline is at work on the same run, wait for it and take what it made."""
    try:
        while (outcome := call(stage.argv)).code == WRONG_CODE and (run := announced_run(folder, stage)):
            if not is_held(run / ".lock") and completed(run) is None:  # it may have ended since our ranks were refused
                break
            print(f"waiting for the other process that is at work on {run}", flush=True)
            while is_held(run / ".lock"):
                time.sleep(1)
    except KeyboardInterrupt:
        return Outcome(STOPPED_CODE)
    return outcome


def _in_this_process(argv: Sequence[str]) -> Outcome:
    """Run a verb in this process. A bug's traceback goes to the log; argparse's SystemExit is an exit code too."""
    import mimbench

    try:
        return Outcome(mimbench.main(argv))
    except SystemExit as error:
        return Outcome(error.code if isinstance(error.code, int) else FAILED)
    except Exception:
        traceback.print_exc()
        return Outcome(FAILED)
