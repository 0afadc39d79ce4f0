"""Slurm's queue: the live jobs of a pipeline, known by their names, and how they are cancelled."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.errors import WorkFailed
from slurm.state.observe import QueueEntry

SEPARATOR = "|"
REMEDY = "run this on a login node of the cluster, when its controller answers."


def job_name(pipeline_id: str, stages: Sequence[str]) -> str:
    """Return the name of a stage's job, or of an array for several: `digits-1a2b/coco.simmim.seed[0,1,2]`.

    An array's names have a beginning in common; the n-th in brackets is the end of its n-th task's.
    """
    if len(stages) == 1:
        return f"{pipeline_id}/{stages[0]}"
    stem = stages[0].rstrip("0123456789")
    return f"{pipeline_id}/{stem}[{','.join(stage.removeprefix(stem) for stage in stages)}]"


def _stage_of(name: str, job: str) -> str:
    """Return the stage of the job `17`, or of an array's task `17_2`, from the job's name without the pipeline."""
    _, is_task, number = job.partition("_")
    if not is_task:
        return name
    stem, _, ends = name.removesuffix("]").rpartition("[")
    return stem + ends.split(",")[int(number)]


@dataclass(frozen=True)
class Found:
    """A live job of a pipeline."""

    id: str
    """`17`, or of an array `17_2`."""
    entry: QueueEntry


def read_queue(pipeline_id: str) -> dict[str, Found]:
    """Return the live jobs of a pipeline by stage, found by name: also one whose id was never written down.

    Raises WorkFailed when Slurm does not answer.
    """
    form = SEPARATOR.join(["%i", "%T", "%r", "%j"])
    # Whoever submitted them: two people may work on one pipeline. Each task of an array has a line of its own.
    lines = _ask(["squeue", "--noheader", "--array", "--format", form]).splitlines()
    found: dict[str, Found] = {}
    for line in lines:
        job, state, reason, name = line.split(SEPARATOR, 3)
        pipeline, _, stages = name.partition("/")
        if pipeline == pipeline_id:
            found[_stage_of(stages, job)] = Found(job, QueueEntry(state, reason))
    return found


def queue_by_job(found: Mapping[str, Found]) -> dict[str, QueueEntry]:
    return {job.id: job.entry for job in found.values()}


def job_state(job: str) -> str | None:
    """Return a job's state and, while it waits, the reason: `PENDING (Resources)`; None when it has left the queue."""
    asked = subprocess.run(
        ["squeue", "--noheader", "--jobs", job, "--format=%T (%r)"], capture_output=True, text=True, timeout=60
    )
    return asked.stdout.strip().removesuffix(" (None)") or None


def cancel_jobs(jobs: list[str]) -> None:
    """Cancel jobs by id. Raises WorkFailed when Slurm does not answer."""
    if jobs:
        _ask(["scancel", *jobs], f"have whoever submitted them cancel what is not yours; otherwise {REMEDY}")


def _ask(command: list[str], remedy: str = REMEDY) -> str:
    remedy = f"  remedy: {remedy}"
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (FileNotFoundError, PermissionError):  # the second, where a folder of PATH is closed to us
        raise WorkFailed(f"Slurm is not on this machine: no `{command[0]}`\n{remedy}") from None
    except subprocess.CalledProcessError as error:
        raise WorkFailed(f"`{command[0]}` failed: {error.stderr.strip()}\n{remedy}") from None
    except subprocess.TimeoutExpired:
        raise WorkFailed(f"`{command[0]}` did not answer within a minute\n{remedy}") from None
