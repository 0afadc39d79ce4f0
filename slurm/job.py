"""What submitit runs: one stage, in its own process, on this machine or on a node.

Only two texts are pickled, the pipeline's folder and the stage's name; everything else is read from files, so a job
that waited for days runs the code and the command of the day it starts.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from slurm.folder import Attempt, Held, Manifest, PipelineFolder, hold, is_held
from slurm.stages import Pipeline, Stage
from slurm.state import BAD, STOPPED_CODE, announced_run, inputs_digest, observe

FAILED, WRONG, BUSY = 1, 2, 75
SHARED_FILES_S = 30


def enter(pipeline_dir: str, stage: str) -> None:
    """Run a stage and end the process with its exit code, so that Slurm's `afterok` sees a failure."""
    sys.exit(run_stage(pipeline_dir, stage))


def run_stage(pipeline_dir: str, stage: str) -> int:
    """Run the stage's command in this process; return its exit code.

    It does not run when a parent is not completed (Slurm's dependencies cannot be trusted alone), nor when another
    process is at work on it.
    """
    signal.signal(signal.SIGTERM, _stop_before_work)
    folder = PipelineFolder(Path(pipeline_dir))
    manifest = folder.read_manifest()
    os.chdir(manifest.workdir)
    try:
        with hold(folder.lock(stage), f"stage {stage}"):
            return _run_held(folder, manifest, manifest.entry(stage).stage)
    except Held as error:
        print(error, file=sys.stderr)
        return BUSY


def _stop_before_work(_signal: int, _frame: FrameType | None) -> None:
    # submitit ignores SIGTERM; while a verb is still being imported there is nothing to save, and stopping is right.
    # A training loop replaces this by its own handler, which saves first.
    raise KeyboardInterrupt


def _run_held(folder: PipelineFolder, manifest: Manifest, stage: Stage) -> int:
    pipeline = manifest.pipeline
    why_not = _unfit_parent(folder, pipeline, stage) if stage.after == "success" else None
    attempt = Attempt(
        inputs_digest=inputs_digest(folder, pipeline, stage),
        host=socket.gethostname(),
        pid=os.getpid(),
        started_at=time.time(),
        skipped=why_not,
    )
    folder.write_attempt(stage.name, attempt)
    if why_not is not None:
        print(f"skipped: {why_not}", file=sys.stderr)
        return FAILED
    print("$ " + shlex.join(stage.command), flush=True)
    code = _run_verb(folder, stage)
    folder.write_attempt(stage.name, attempt.model_copy(update={"finished_at": time.time(), "exit_code": code}))
    return code


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


def _run_verb(folder: PipelineFolder, stage: Stage) -> int:
    """Run the stage's verb; when another pipeline is at work on the same run, wait for it and take what it made."""
    try:
        while (code := _call(list(stage.argv))) == WRONG and (run := announced_run(folder, stage)):
            if not is_held(run / ".lock"):
                break
            print(f"waiting for the other process that is at work on {run}", flush=True)
            while is_held(run / ".lock"):
                time.sleep(1)
    except KeyboardInterrupt:
        return STOPPED_CODE
    return code


def _call(argv: list[str]) -> int:
    """Run a verb in this process. A bug's traceback goes to the log; argparse's SystemExit is an exit code too."""
    import mimbench

    try:
        return mimbench.main(argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    except Exception:
        traceback.print_exc()
        return FAILED
