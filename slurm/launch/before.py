"""What a pipeline waits for: jobs and pipelines that its file names in `after`, and that are not its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.errors import UserError
from slurm.controller.jobs import ENDED, look_up, read_jobs
from slurm.graph.entries import is_job_id
from slurm.state.folder import PipelineFolder
from slurm.state.observe import DONE, observe


def jobs_before(after: Sequence[str], is_first_launch: bool) -> list[str]:
    """Return the jobs that are still to end well, of those and of the pipelines that `after` names.

    Raises UserError where one of them ended badly or is not at work, and at the first launch where Slurm knows no such
    job; later that is said, because Slurm forgets jobs that have ended. Raises WorkFailed where it does not answer.
    """
    found: list[str] = []
    for name in after:
        found += _job(name, is_first_launch) if is_job_id(name) else _jobs_of_pipeline(PipelineFolder(Path(name)))
    return list(dict.fromkeys(found))


def _job(job: str, is_first_launch: bool) -> Iterator[str]:
    states = {found.entry.state for found in look_up(job.partition("_")[0]) if "_" not in job or found.id == job}
    if not states:
        if is_first_launch:
            raise UserError.about("after", job, "a job that Slurm knows", "remove it where it has ended well")
        print(f"not waited for: Slurm knows no job {job} any more", flush=True)
    elif bad := states & (ENDED - {"COMPLETED"}):
        rule = f"a job that ends well: it is {', '.join(sorted(bad))}"
        raise UserError.about("after", job, rule, "name the job that does its work now, or remove it")
    elif states != {"COMPLETED"}:
        yield job


def _jobs_of_pipeline(folder: PipelineFolder) -> Iterator[str]:
    manifest = folder.read_manifest()
    live = read_jobs(folder, manifest).by_stage
    for stage in manifest.pipeline.stages:
        state = observe(folder, manifest.pipeline, stage).state
        if stage.name in live:
            yield live[stage.name]
        elif state not in DONE:
            rule = f"a pipeline whose stages are completed or have jobs: {stage.name} is {state} and has none"
            raise UserError.about("after", str(folder.path), rule, f"mimbench pipeline resume {folder.id}")
