"""A person's own command, run when a stage has failed and when a pipeline has ended: a message, a webhook.

It stands in the pipeline file or in the cluster file (`notify`), is read from the pipeline's folder, and gets what it
may tell as variables. Nothing that becomes of it changes what becomes of the stage.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files.yaml_files import read_yaml
from slurm.graph.stages import REPORT
from slurm.state.folder import Manifest, PipelineFolder
from slurm.state.observe import observe_all

PATIENCE_S = 30.0
"""How long the command may take before it is killed."""


def notify(folder: PipelineFolder, manifest: Manifest, stage: str) -> None:
    """Run the person's command where there is one, and something to tell of a stage that has ended.

    That is a failure, or, where the stage is the report, the end of the pipeline: completed where all stages are.
    """
    command = _command(folder)
    if command is None:
        return
    states = {name: view.state for name, view in observe_all(folder, manifest).items()}
    state: str = states[stage]
    if stage == REPORT:
        state = "completed" if {*states.values()} == {"completed"} else "failed"
    elif state != "failed":
        return
    told = {
        "MIMBENCH_PIPELINE": folder.id,
        "MIMBENCH_FOLDER": str(folder.path.resolve()),
        "MIMBENCH_STAGE": stage,
        "MIMBENCH_STATE": state,
    }
    try:
        # A process group of its own, which is killed as a whole where it takes too long.
        with subprocess.Popen(
            command, shell=True, env={**os.environ, **told}, stdin=subprocess.DEVNULL, start_new_session=True
        ) as process:
            code = _wait(process)
    except OSError as error:
        print(f"notify: {error}", file=sys.stderr)
        return
    if code:
        print(f"notify: ended with exit code {code}", file=sys.stderr)


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return process.wait()


def _command(folder: PipelineFolder) -> str | None:
    """Return the command of the pipeline file, or else of the cluster file; None where neither names one."""
    return _named_in(folder.file) or _named_in(folder.cluster)


def _named_in(path: Path) -> str | None:
    try:
        command = read_yaml(path).get("notify")
    except (UserError, OSError) as error:
        print(f"notify: {error}", file=sys.stderr)
        return None
    return command if isinstance(command, str) else None
