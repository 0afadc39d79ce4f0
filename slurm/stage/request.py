"""What whoever submits a stage asks of the process that runs it."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from benchmarks.config import Config
from slurm.state.folder import PipelineFolder
from slurm.state.mark import read_mark

REQUEUE_S = 20.0
"""How long before the time limit a stage must have ended, so that its job can be requeued."""


class Request(Config):
    """What the cluster's file asks of a stage, and whose stage it is."""

    ranks_per_node: int = 1
    restarts: int | None = None
    """How many starts of its job in a row may leave no new checkpoint; None where jobs are not started again."""
    stage_data: dict[str, str] = Field(default_factory=dict)
    """The node's own copy of each data folder: its path by the original's."""
    stop_notice_s: float | None = None
    """How many seconds before the time limit Slurm announces it (SIGUSR2); None where there is no limit."""
    notify: str | None = None
    """A person's command that tells of a failure and of the end."""
    token: str | None = None
    """The mark of the folder that submitted the stage; None where it was not submitted to Slurm."""

    @property
    def patience_s(self) -> float | None:
        """Seconds that a stage may take to stop after that announcement; None where there is no limit."""
        return None if self.stop_notice_s is None else self.stop_notice_s - REQUEUE_S


def parse(argv: list[str]) -> tuple[PipelineFolder, Request, str]:
    """Return folder, request and stage of a job's command line `FOLDER REQUEST STAGE...`.

    Several stages are an array: the number of this job in it says which is meant.
    """
    stages = argv[2:]
    stage = stages[int(os.environ["SLURM_ARRAY_TASK_ID"]) if len(stages) > 1 else 0]
    return PipelineFolder(Path(argv[0])), Request.model_validate_json(argv[1]), stage


def is_from(folder: PipelineFolder, asked: Request) -> bool:
    """Tell whether this folder submitted the stage: after a move, another may stand in its place."""
    mark = read_mark(folder)
    return asked.token is None or (mark is not None and mark.token == asked.token)
