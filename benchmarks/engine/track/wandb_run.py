"""Weights & Biases: a run of the same id, offline in the run's `wandb/` unless it is to be sent.

Offline, it is written anew at every start, since a second offline folder of one run would replace the first at
`wandb sync`. Online, W&B continues the run, and what it has of it is passed over.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine.track.tracker import PROJECT, Ending, Tracked, imported
from benchmarks.errors import UserError

FINISH_SECONDS = 60.0
"""How long the end of a run waits for the server: a job that is asked to stop has little time."""
REMOVALS = 20


class WandbRun:
    """One run of W&B."""

    def __init__(self, library: Any, run: Any) -> None:
        self._library, self._run = library, run
        self._known: int = run.step
        """The step that W&B has reached; it takes only later ones, and further values of this one."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if step >= self._known:
            self._run.log(dict(values), step=step)

    def close(self, ending: Ending) -> None:
        if ending == "preempted":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if ending == "completed" else 1)
        # Its own process ends too: one that is still about the end of a run loses the lines of the next of the same id.
        self._library.teardown()


def open_wandb(run: Tracked) -> WandbRun:
    """Begin or continue the run whose W&B id is the run's id. Raises UserError where W&B refuses, as without a login.

    Its library reports its own errors to its makers, even offline, unless the environment forbids it.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    wandb = imported("wandb", "wandb")
    if not run.online:
        _remove(run.folder.wandb)
    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,  # the address of a repository may hold a token
        disable_code=True,
        disable_job_creation=True,
        x_disable_meta=True,  # host, user, command line
        x_disable_machine_info=True,
        x_save_requirements=False,
        finish_timeout=FINISH_SECONDS,
    )
    try:
        found = wandb.init(
            id=run.run_id,
            name=run.run_id,
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=run.folder.path,
            mode="online" if run.online else "offline",
            resume="allow" if run.online else None,
            group=run.record.task.name if run.record.task else run.record.kind,
            config={**run.tags, **run.settings},
            settings=settings,
        )
    except wandb.errors.UsageError as error:
        remedy = "`wandb login`, or WANDB_API_KEY in the job's environment"
        raise UserError.about("training.track_online", True, f"what W&B takes: {error}", remedy) from None
    return WandbRun(wandb, found)


def _remove(folder: Path) -> None:
    """Remove a folder in which W&B's own process may still be closing files of a run that has just finished."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    raise OSError(f"{folder} cannot be removed")
