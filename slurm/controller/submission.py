"""How a batch script becomes a job whose id is known for certain."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

from benchmarks.errors import WorkFailed
from benchmarks.files.atomic import make_folder
from slurm.controller.commands import errors_of, run
from slurm.controller.jobs import QueuedJob, list_jobs, look_up

PATIENCE_S = 600
"""How long sbatch may take: sites' wrappers check, print and wait."""
ANSWER = re.compile(r"^(\d+)(;\S+)?$")
"""What `sbatch --parsable` writes: the id and, on some sites, the cluster."""


def submit_script(script: str, folder: Path, name: str, token: str | None) -> str:
    """Submit a batch script, which stays in `folder` under the job's id; return that id.

    `name` and `token` are those of the job. Raises WorkFailed where Slurm refuses it, or where nobody can tell which
    job it has become.
    """
    make_folder(folder)
    path = folder / f".submission_{uuid.uuid4().hex}.sh"
    path.write_text(script, encoding="utf-8")
    try:
        done = run(["sbatch", "--parsable", str(path)], PATIENCE_S)
        if done.returncode:
            raise WorkFailed(errors_of(done))
        job = _job_of(done.stdout, name, token)
        path.rename(folder / f"{job}_submission.sh")
    finally:
        path.unlink(missing_ok=True)
    return job


def _job_of(answer: str, name: str, token: str | None) -> str:
    """Return the job id in sbatch's answer; where that has other lines too, the id that proves to be the job's."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    ids = [found.group(1) for line in reversed(lines) if (found := ANSWER.match(line)) is not None]
    if ids and len(lines) == 1:
        return ids[0]

    def is_it(job: QueuedJob) -> bool:
        return job.name == name and job.token in (token, None)

    for job in ids:
        if any(is_it(found) for found in look_up(job)):
            return job
    if token is not None and (listed := [job for job in list_jobs() if job.name == name and job.token == token]):
        return max((job.id.partition("_")[0] for job in listed), key=int)
    raise WorkFailed(f"its answer names no job of ours: {' | '.join(lines) or 'it is empty'}")
