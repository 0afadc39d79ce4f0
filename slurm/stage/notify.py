"""A person's own command, run when a stage has failed and when a pipeline has ended: a message, a webhook.

It is the one that stood in the pipeline or the cluster file (`notify`) when the stage was submitted: what others write
into a shared folder later is not run. Nothing that becomes of it changes what becomes of the stage.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from benchmarks.errors import UserError
from slurm.graph.stages import REPORT
from slurm.state.folder import Manifest, PipelineFolder
from slurm.state.observe import DONE, observe_all

PATIENCE_S = 30.0
"""How long the command may take before it is killed."""


def notify(command: str | None, folder: PipelineFolder, manifest: Manifest, stage: str) -> None:
    """Run a person's command, where there is one, for a stage that has ended and of which there is something to tell.

    That is a failure, or, where the stage is the report, the end of the pipeline: completed where all stages are.
    """
    if command is None:
        return
    try:
        state = _news(folder, manifest, stage)
        code = _run(command, folder, stage, state) if state is not None else 0
    except (OSError, UserError) as error:
        print(f"notify: {error}", file=sys.stderr)
        return
    if code:
        print(f"notify: ended with exit code {code}", file=sys.stderr)


def _news(folder: PipelineFolder, manifest: Manifest, stage: str) -> str | None:
    """Return what there is to tell of a stage that has ended; None where that is nothing."""
    states = {name: view.state for name, view in observe_all(folder, manifest).items()}
    if stage == REPORT:
        return "completed" if {*states.values()} <= {*DONE} else "failed"
    return "failed" if states[stage] == "failed" else None


def _run(command: str, folder: PipelineFolder, stage: str, state: str) -> int:
    """Run the command to its end, or kill it and all that it started; return its exit code."""
    variables = {
        "MIMBENCH_PIPELINE": folder.id,
        "MIMBENCH_FOLDER": str(folder.path.resolve()),
        "MIMBENCH_STAGE": stage,
        "MIMBENCH_STATE": state,
    }
    given = {**os.environ, **variables}
    with subprocess.Popen(
        command, shell=True, env=given, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:  # leader of a process group, which can be killed as a whole
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()
