"""The live jobs of a pipeline's folder, as Slurm shows them, and how they are cancelled.

A site's squeue may write banners, be cut off, be answered from a cache, or say nothing and succeed. So the records that
we ask for begin and end with a word that is made up for each question, and a job that we know of is gone only where the
controller, asked for this one job, says that it has ended or that there is none.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.errors import WorkFailed
from slurm.controller.commands import REMEDY, ask, errors_of, run
from slurm.state.folder import Manifest, PipelineFolder
from slurm.state.mark import came_from, read_mark, token_in
from slurm.state.observe import DONE, QueueEntry, observe

SHOWN = re.compile(
    r"^JobId=(?P<id>\d+)(?: ArrayJobId=(?P<array>\d+) ArrayTaskId=(?P<tasks>\S+))?.*? JobName=(?P<name>.*?) UserId="
    r".*? JobState=(?P<state>[A-Z_]+) Reason=(?P<reason>.*?) Dependency=(?P<rest>.* WorkDir=.*)$"
)
"""A line of `scontrol --oneliner show job`."""
UNKNOWN_JOB = "Invalid job id"
ENDED = {
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"),
    *("OUT_OF_MEMORY", "REVOKED"),
}
ENDING = {*ENDED, "COMPLETING"}
CANCEL_PATIENCE_S = 10.0
"""How long the controller may take to show that cancelled jobs are ending."""


def job_name(pipeline_id: str, stages: list[str]) -> str:
    """Return the name of a stage's job, or of an array for several: `digits-1a2b/coco.simmim.seed[0,1,2]`.

    An array's names have a beginning in common; the n-th in brackets is the end of its n-th task's.
    """
    if len(stages) == 1:
        return f"{pipeline_id}/{stages[0]}"
    stem = stages[0].rstrip("0123456789")
    return f"{pipeline_id}/{stem}[{','.join(stage.removeprefix(stem) for stage in stages)}]"


@dataclass(frozen=True)
class QueuedJob:
    """A job, or one task of an array, as Slurm shows it."""

    id: str
    """`17`, or of an array `17_2`."""
    name: str
    entry: QueueEntry
    token: str | None
    """The mark of the folder that submitted it; None where its comment has none."""

    @property
    def pipeline(self) -> str:
        """The id of its pipeline."""
        return self.name.partition("/")[0]

    @property
    def stage(self) -> str:
        """The stage that it runs; empty where the job's name is none of ours."""
        name, (_, is_task, number) = self.name.partition("/")[2], self.id.partition("_")
        if not is_task:
            return name
        stem, _, ends = name.removesuffix("]").rpartition("[")
        found = ends.split(",")
        return stem + found[int(number)] if stem and int(number) < len(found) else ""


@dataclass(frozen=True)
class PipelineJobs:
    """The live jobs that have the names of a pipeline's stages."""

    own: tuple[QueuedJob, ...]
    """Those that the folder's stages were submitted as."""
    of_others: tuple[QueuedJob, ...]
    """Those of another folder whose pipeline has the same id."""
    recorded: Mapping[str, str]
    """The job that the manifest names for a stage."""

    @property
    def by_stage(self) -> dict[str, str]:
        """The job of each stage; of several the one that the manifest names, or else the last."""
        found: dict[str, str] = {}
        for job in self.own:
            if job.stage not in found or found[job.stage] != self.recorded.get(job.stage):
                found[job.stage] = job.id
        return found

    @property
    def entries(self) -> dict[str, QueueEntry]:
        """The state of each of the folder's own jobs, by id."""
        return {job.id: job.entry for job in self.own}


def read_jobs(folder: PipelineFolder, manifest: Manifest) -> PipelineJobs:
    """Return the live jobs with the names of a pipeline's jobs, also one whose id was never written down.

    Raises WorkFailed when Slurm does not answer, or not in a way that can be believed.
    """
    if came_from(folder) is not None:  # its jobs work where it was
        return PipelineJobs((), (), {})
    recorded = {
        entry.stage.name: job.id for entry in manifest.entries if (job := entry.job) and job.executor == "slurm"
    }
    found = {job.id: job for job in list_jobs() if job.pipeline == folder.id}
    missing = {stage: job for stage, job in recorded.items() if job not in found}
    unfinished = {job for stage, job in missing.items() if _may_live(folder, manifest, stage)}
    for array in sorted({_array_of(job) for job in unfinished}):
        found |= {job.id: job for job in look_up(array) if job.id in unfinished and job.entry.state not in ENDED}
    mark = read_mark(folder)
    token = mark.token if mark is not None else None
    own = tuple(job for job in found.values() if _belongs(job, folder, token, recorded))
    return PipelineJobs(own, tuple(job for job in found.values() if job not in own), recorded)


def _may_live(folder: PipelineFolder, manifest: Manifest, stage: str) -> bool:
    pipeline = manifest.pipeline
    return observe(folder, pipeline, pipeline.stage(stage)).state not in DONE


def _belongs(job: QueuedJob, folder: PipelineFolder, token: str | None, recorded: Mapping[str, str]) -> bool:
    """Tell whether a job is the folder's own: by its mark, or, where it has none, by the id that was written down.

    Versions before the mark submitted without one, and some sites' plugins write comments of their own.
    """
    if job.pipeline != folder.id or not job.stage:
        return False
    return job.token == token if job.token is not None else recorded.get(job.stage) == job.id


def list_jobs() -> Iterator[QueuedJob]:
    """Yield the live jobs that squeue shows, each task of an array by itself, whoever submitted them.

    Raises WorkFailed when squeue does not answer, or its answer is cut off.
    """
    begin = f"mimbench-{secrets.token_hex(4)}"
    form = re.compile(rf"^{begin}\|(\d+(?:_\d+)?)\|([A-Z_]+)\|([^|]*)\|(.*)\|([^|]*)\|{begin}$")
    fields = "|".join([begin, "%i", "%T", "%r", "%k", "%j", begin])
    for line in ask(["squeue", "--noheader", "--all", "--array", "--format", fields]).splitlines():
        if (found := form.match(line.strip())) is not None:
            job, state, reason, comment, name = found.groups()
            yield QueuedJob(job, name, QueueEntry(state, reason), token_in(comment))
        elif line.startswith(begin) and not line.rstrip().endswith(begin):
            raise WorkFailed(f"the answer of `squeue` is cut off\n  remedy: {REMEDY}")


def look_up(job: str) -> list[QueuedJob]:
    """Return a job as the controller shows it, or all tasks of an array; none where it says that there is no such job.

    Raises WorkFailed when it does not answer, or in a way that cannot be understood.
    """
    done = run(["scontrol", "--oneliner", "show", "job", job])
    shown = [found for line in done.stdout.splitlines() if (found := SHOWN.match(line.strip())) is not None]
    jobs = [queued for found in shown for queued in _queued_jobs(found)]
    jobs = [queued for queued in jobs if _array_of(queued.id) == _array_of(job)]
    if jobs or (done.returncode and UNKNOWN_JOB in done.stderr):
        return jobs
    answer = errors_of(done) if done.returncode or done.stdout or done.stderr else "nothing"
    problem = f"it is not known whether job {job} is gone: the answer of `scontrol show job` is: {answer}"
    raise WorkFailed(f"{problem}\n  Nothing was submitted or cancelled because of it.\n  remedy: {REMEDY}")


def _queued_jobs(found: re.Match[str]) -> Iterator[QueuedJob]:
    entry = QueueEntry(found["state"], found["reason"])
    _, _, comment = found["rest"].partition(" Comment=")
    ids = [found["id"]] if found["array"] is None else [f"{found['array']}_{task}" for task in _tasks(found["tasks"])]
    for job in ids:
        yield QueuedJob(job, found["name"], entry, token_in(comment))


def _tasks(text: str) -> Iterator[int]:
    """Yield the numbers of an array's tasks from `2`, or from `0-4,7%2` for those that wait."""
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            yield from range(int(first), int(last or first) + 1)


def _array_of(job: str) -> str:
    return job.partition("_")[0]


def find_job(job: str) -> QueuedJob | None:
    """Return one job, or one task of an array, even if it ended a while ago; None where Slurm has forgotten it.

    Raises WorkFailed as `look_up` does.
    """
    return next((found for found in look_up(_array_of(job)) if found.id == job), None)


def cancel_jobs(jobs: Collection[str]) -> None:
    """Cancel jobs by id, and wait until they end. Raises WorkFailed where Slurm refuses, or they go on all the same."""
    if not jobs:
        return
    ask(["scancel", *jobs], f"have whoever submitted them cancel what is not yours; otherwise {REMEDY}")
    deadline = time.monotonic() + CANCEL_PATIENCE_S
    while left := _still_there(jobs):
        if time.monotonic() > deadline:
            problem = f"`scancel` reported no error, and yet these jobs go on: {', '.join(left)}"
            raise WorkFailed(f"{problem}\n  remedy: cancel them by hand, or {REMEDY}")
        time.sleep(1)


def _still_there(jobs: Iterable[str]) -> list[str]:
    known = {job.id: job for array in sorted({_array_of(job) for job in jobs}) for job in look_up(array)}
    return [
        f"{job} ({known[job].entry.state})" for job in jobs if job in known and known[job].entry.state not in ENDING
    ]
