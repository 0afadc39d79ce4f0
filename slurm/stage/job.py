"""One stage, on this machine or once on every node of a job: `python -m slurm.stage.job FOLDER REQUEST STAGE...`.

The command line names the pipeline's folder, what the cluster asks, and the stage; all else is read from files.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from benchmarks.errors import (
    BUSY_CODE,
    CRASHED_CODE,
    DONE_CODE,
    FAILED_CODE,
    STOPPED_CODE,
    WRONG_CODE,
    UserError,
    WorkFailed,
)
from benchmarks.files.atomic import denials_reported
from benchmarks.files.locks import is_held
from benchmarks.runs.folder import completed
from slurm.graph.stages import Pipeline, Stage
from slurm.stage import team
from slurm.stage.program import run_verb
from slurm.stage.request import Request, is_from, parse
from slurm.stage.requeue import NOTICE, new_attempt, signals_handled
from slurm.stage.staging import with_local_data
from slurm.state.attempt import RankEnd
from slurm.state.folder import Held, Manifest, PipelineFolder, hold
from slurm.state.inputs import announced_run
from slurm.state.observe import BAD, DONE, observe
from slurm.state.rungs import Ended, ended_by_rung
from slurm.state.shared_files import SHARED_FILES_S, wait_for


@dataclass(frozen=True)
class Outcome:
    """How a stage's command ended."""

    code: int
    cause: RankEnd | None = None
    """Which of several ranks failed first."""


def enter(pipeline_dir: str, stage: str, asked: Request) -> None:
    """Run a stage and end the process with its exit code, so that Slurm's `afterok` sees a failure."""
    try:
        with denials_reported():
            sys.exit(run_stage(pipeline_dir, stage, asked))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(WRONG_CODE)
    except WorkFailed as error:  # no room for the stage's own files
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(FAILED_CODE)


def run_stage(pipeline_dir: str, stage: str, asked: Request) -> int:
    """Run the stage's command, in this process or in one process for each rank; return its exit code.

    It does not run when a parent is not completed (Slurm's dependencies cannot be trusted alone), nor when another
    process is at work on it, nor when too many starts of its job in a row have left no new checkpoint.
    Raises UserError where the pipeline's manifest stays missing or damaged.
    """
    signal.signal(signal.SIGTERM, _stop_before_work)
    signal.signal(signal.SIGUSR2, _stop_before_work)
    folder = PipelineFolder(Path(pipeline_dir))
    manifest = _read_manifest(folder)
    if not is_from(folder, asked):
        print(f"not run: {pipeline_dir} is not the folder that submitted this job: it was replaced", file=sys.stderr)
        return WRONG_CODE
    manifest.enter_workdir()
    layout = team.layout_here(asked.ranks_per_node)
    if layout.node > 0:
        signal.signal(signal.SIGTERM, _leave_to_the_first_node)
        signal.signal(signal.SIGUSR2, _leave_to_the_first_node)
        team.follow(folder, stage, layout, with_local_data(manifest.entry(stage).stage.argv, asked.stage_data))
        return 0
    try:
        with hold(folder.lock(stage), f"stage {stage}", folder.id):
            return _run_held(folder, manifest, manifest.entry(stage).stage, layout, asked)
    except Held as error:
        print(error, file=sys.stderr)
        return BUSY_CODE


def _read_manifest(folder: PipelineFolder) -> Manifest:
    return wait_for(folder.find_manifest, _patience_s()) or folder.read_manifest()


def _patience_s() -> float:
    """Return for how many seconds files are waited for: those of other hosts take a while to show."""
    return SHARED_FILES_S if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else 0.0


def _leave_to_the_first_node(_signal: int, _frame: FrameType | None) -> None:
    pass  # every node gets the signal; while no rank runs here, what follows from it is decided there


def _stop_before_work(_signal: int, _frame: FrameType | None) -> None:
    # While a verb is still being imported there is nothing to save, and stopping is right. A training loop replaces
    # this by its own handler, which saves first.
    raise KeyboardInterrupt


def _run_held(folder: PipelineFolder, manifest: Manifest, stage: Stage, layout: team.Layout, asked: Request) -> int:
    pipeline = manifest.pipeline
    why_not = _why_not(folder, pipeline, stage) if stage.after == "success" else None
    if stage.decides:
        _await_members(folder, pipeline, stage)
    attempt = new_attempt(folder, pipeline, stage, layout.job)
    if why_not is not None:
        attempt = attempt.model_copy(update={"skipped": why_not.why})
    if asked.restarts is not None and attempt.fruitless > asked.restarts:
        # Its node was lost each time, so that the batch script could not decide about the start before.
        given_up = {"finished_at": time.time(), "exit_code": FAILED_CODE, "given_up_after": attempt.fruitless}
        folder.write_attempt(stage.name, attempt.model_copy(update=given_up))
        return FAILED_CODE
    try:
        folder.write_attempt(stage.name, attempt)
    except KeyboardInterrupt:  # a stop that came while the file was written
        stopped = {"finished_at": time.time(), "exit_code": STOPPED_CODE}
        folder.write_attempt(stage.name, attempt.model_copy(update=stopped))
        return STOPPED_CODE
    if why_not is not None:
        print(f"{'pruned' if why_not.is_pruned else 'skipped'}: {why_not.why}", file=sys.stderr)
        return DONE_CODE if why_not.is_pruned else FAILED_CODE
    print("$ " + shlex.join(stage.command), flush=True)

    def in_ranks(argv: Sequence[str]) -> Outcome:
        first = team.lead(folder, stage.name, attempt, layout, argv)
        return Outcome(0) if first is None else Outcome(first.stage_code, first if first.failed else None)

    with signals_handled(asked.patience_s) as signals:
        call = in_ranks if layout.world_size > 1 else _in_this_process
        outcome = _run_verb(folder, stage, lambda argv: call(with_local_data(argv, asked.stage_data)))
    if outcome.cause is not None:
        print(outcome.cause.describe(), file=sys.stderr)
    ended = {"exit_code": outcome.code, "cause": outcome.cause, "noticed": NOTICE in signals}
    try:
        folder.write_attempt(stage.name, attempt.model_copy(update={"finished_at": time.time(), **ended}))
    except WorkFailed as error:  # a full disk: the run's record, not this file, says whether the work is done
        print(f"the end of the attempt could not be written: {error}", file=sys.stderr)
    return outcome.code


def _why_not(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> Ended | None:
    """Return why the stage must not run, or None. On a cluster, give a shared file system time to show the records."""

    def found() -> Ended | None:
        if (ended := ended_by_rung(folder, pipeline, stage)) is not None:
            return ended
        for name in stage.needs:
            state = observe(folder, pipeline, pipeline.stage(name)).state
            if state != "completed":
                why = f"parent {name} {state if state in BAD else 'is not completed'}"
                return Ended(why, is_pruned=False)
        return None

    def settled() -> bool | None:
        now = found()
        return True if now is None or now.is_pruned else None

    wait_for(settled, _patience_s())
    return found()


def _await_members(folder: PipelineFolder, pipeline: Pipeline, stage: Stage) -> None:
    """Give a shared file system time to show how the members of a rung ended, which decides what becomes of them."""

    def has_ended(name: str) -> bool:
        state, last = observe(folder, pipeline, pipeline.stage(name)).state, folder.read_attempt(name)
        return state in DONE or (state in BAD and (last is None or last.finished_at is not None))

    wait_for(lambda: True if all(map(has_ended, stage.needs)) else None, _patience_s())


def _run_verb(folder: PipelineFolder, stage: Stage, call: Callable[[Sequence[str]], Outcome]) -> Outcome:
    """Run the stage's verb; when another pipeline is at work on the same run, wait for it and take over its result."""
    try:
        while (outcome := call(stage.argv)).code == WRONG_CODE and (run := announced_run(folder, stage)):
            if not is_held(run / ".lock") and completed(run) is None:  # it may have ended since our ranks were refused
                break
            print(f"waiting for the other process that is at work on {run}", flush=True)
            while is_held(run / ".lock"):
                time.sleep(1)
    except KeyboardInterrupt:
        return Outcome(STOPPED_CODE)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return Outcome(WRONG_CODE)
    except WorkFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return Outcome(FAILED_CODE)
    return outcome


def _in_this_process(argv: Sequence[str]) -> Outcome:
    """Run a verb in this process. A bug's traceback goes to the log; argparse's SystemExit is an exit code too."""
    try:
        return Outcome(run_verb(argv))
    except SystemExit as error:
        return Outcome(error.code if isinstance(error.code, int) else FAILED_CODE)
    except Exception:
        traceback.print_exc()
        return Outcome(CRASHED_CODE)


if __name__ == "__main__":
    of_folder, by_request, its_stage = parse(sys.argv[1:])
    enter(str(of_folder.path), its_stage, by_request)
