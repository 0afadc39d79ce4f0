"""Launch a pipeline on Slurm: every stage is submitted at once as a job that depends on its parents' jobs.

The seeds of a stage are one array of jobs.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.errors import WorkFailed
from benchmarks.files.locks import is_held, read_holder
from slurm.controller.jobs import cancel_jobs, job_name, read_jobs
from slurm.controller.submission import submit_script
from slurm.graph.resources import Allocation
from slurm.graph.stages import Stage, arrays
from slurm.launch.manifest import forget_unfinished, set_entries
from slurm.launch.same_work import jobs_of_same_work
from slurm.launch.script import script
from slurm.launch.snapshot import snapshot_path
from slurm.stage.request import Request
from slurm.state.folder import Job, Manifest, PipelineFolder
from slurm.state.mark import Mark, read_mark
from slurm.state.observe import observe

What = Literal["submitted", "live already", "completed already", "pruned"]


@dataclass(frozen=True)
class Submitted:
    """What a launch did with one stage."""

    stage: str
    job: str | None
    what: What
    behind: Mapping[str, str] = field(default_factory=dict)
    """Jobs of other pipelines, by id, that do the same work, and whose end it waits for."""


class SlurmLauncher:
    """Submits the stages that are neither completed nor live. The caller must hold the pipeline's lock."""

    def __init__(
        self,
        folder: PipelineFolder,
        manifest: Manifest,
        resources: Mapping[str, Allocation],
        array_size: int,
        before: Sequence[str] = (),
        notify: str | None = None,
    ) -> None:
        """`resources` has what each stage asks for, by its name; `before` the foreign jobs that come first.

        `notify` is a person's command that tells of failures and of the end.
        """
        self.folder = folder
        self.manifest = manifest
        self.resources = resources
        self.array_size = array_size
        self.before = before
        self.notify = notify
        self.of_others: list[str] = []
        """Ids of live jobs with names of this pipeline's jobs that belong to another folder."""
        self.same_work: Mapping[str, Mapping[str, str]] = {}
        """By stage, the live jobs of other pipelines that do its work."""

    def launch(self) -> list[Submitted]:
        """Submit what is needed; return what was done with every stage.

        Raises WorkFailed where Slurm does not answer, or a stage is at work though Slurm shows no job of it.
        """
        jobs = read_jobs(self.folder, self.manifest)
        self.of_others = [job.id for job in jobs.of_others]
        live = jobs.by_stage
        self._require_nobody_at_work(live)
        forget_unfinished(self.folder, self.manifest.pipeline, live)
        names = {stage.name for stage in self.manifest.pipeline.stages}
        self.same_work = jobs_of_same_work(self.folder, self.manifest, names - live.keys())
        done: list[Submitted] = []
        fresh: set[str] = set()
        for stages in arrays(self.manifest.pipeline.stages, self.array_size):
            done += self._place(stages, live, fresh)
        return done

    def _require_nobody_at_work(self, live: Mapping[str, str]) -> None:
        for stage in self.manifest.pipeline.stages:
            lock = self.folder.lock(stage.name)
            if stage.name not in live and is_held(lock):
                who = read_holder(lock) or "a process"
                raise WorkFailed(
                    f"nothing was submitted: stage {stage.name} is at work in {who}, though Slurm shows no job of it\n"
                    "  remedy: wait for it, or end that process; then run the same command again."
                )

    def _place(self, stages: Sequence[Stage], live: dict[str, str], fresh: set[str]) -> Iterator[Submitted]:
        """Submit those stages of an array that are neither completed nor live."""
        what = {stage: self._judge(stage, live, fresh) for stage in stages}
        self._note({stage: live[stage.name] for stage in stages if what[stage] == "live already"})
        missing = [stage for stage in stages if what[stage] == "submitted"]
        if missing:
            # Their live jobs wait for an earlier attempt of a parent, or for a file that will never come.
            cancel_jobs([live.pop(stage.name) for stage in missing if stage.name in live])
            parents = [live[parent] for parent in missing[0].needs if parent in live]
            jobs = self.submit(missing, parents)
            live |= {stage.name: submitted.id for stage, submitted in zip(missing, jobs, strict=True)}
            fresh |= {stage.name for stage in missing}
        for stage in stages:
            behind = self.same_work.get(stage.name, {}) if what[stage] == "submitted" else {}
            job = live[stage.name] if what[stage] in ("submitted", "live already") else None
            yield Submitted(stage.name, job, what[stage], behind)

    def _judge(self, stage: Stage, live: Mapping[str, str], fresh: set[str]) -> What:
        """Return what is to be done with a stage: only one that depends on nothing new can stay as it is."""
        if any(parent in fresh for parent in stage.needs):
            return "submitted"
        state = observe(self.folder, self.manifest.pipeline, stage).state
        if state == "completed":
            return "completed already"
        if state == "pruned":
            return "pruned"
        return "live already" if stage.name in live else "submitted"

    def submit(self, stages: Sequence[Stage], parent_jobs: Iterable[str]) -> list[Job]:
        """Submit stages, all behind the same live jobs of their parents. Raises WorkFailed when Slurm refuses them."""
        for stage in stages:
            self.folder.forget_attempt(stage.name)
            self.folder.logs(stage.name).mkdir(exist_ok=True)
        asked, code = self.resources[stages[0].name], Path(self.manifest.code)
        behind = [job for stage in stages for job in self.same_work.get(stage.name, ())]
        text = stage_script(self.folder, asked, code, stages, parent_jobs, self.before, self.notify, behind)
        name, mark = job_name(self.folder.id, [stage.name for stage in stages]), read_mark(self.folder)
        try:
            job = submit_script(text, log_folder(self.folder, stages), name, mark.token if mark is not None else None)
        except WorkFailed as error:
            raise WorkFailed(
                f"Slurm did not take stage {stages[0].name}: {error}\n"
                "  Jobs that were submitted before it are kept.\n"
                "  remedy: correct the cluster file (--cluster) or wait for the controller; run the same command again."
            ) from error
        ids = [job] if len(stages) == 1 else [f"{job}_{task}" for task in range(len(stages))]
        return self._note(dict(zip(stages, ids, strict=True)))

    def _note(self, jobs: Mapping[Stage, str]) -> list[Job]:
        """Write into the manifest which job runs which stage; return the jobs."""
        noted = {stage.name: Job(executor="slurm", id=job_id) for stage, job_id in jobs.items()}
        if noted:
            changes = {name: {"job": submitted, "state": "queued"} for name, submitted in noted.items()}
            self.manifest = set_entries(self.folder, self.manifest, changes)
        for stage, job_id in jobs.items():
            if "_" in job_id:
                self._link_logs(stage, job_id)
        return list(noted.values())

    def _link_logs(self, stage: Stage, job_id: str) -> None:
        """Link the logs that the stage's task will write in the array's folder into the stage's own folder."""
        own = self.folder.logs(stage.name).resolve()
        own.mkdir(exist_ok=True)
        for node in range(self.resources[stage.name].nodes):
            log = log_folder(self.folder, [stage], is_array=True) / f"{job_id}_{node}_log.out"
            link = own / log.name
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(log, own))


def log_folder(folder: PipelineFolder, stages: Sequence[Stage], is_array: bool = False) -> Path:
    """Return where the script and the logs of a stage's job lie; those of an array lie together."""
    stage = stages[0]
    together = (is_array or len(stages) > 1) and stage.seeds_of
    return folder.logs(stage.seeds_of if together and stage.seeds_of else stage.name).resolve()


def stage_script(
    folder: PipelineFolder,
    resources: Allocation,
    code: Path,
    stages: Sequence[Stage],
    parent_jobs: Iterable[str],
    before: Sequence[str] = (),
    notify: str | None = None,
    behind: Iterable[str] = (),
) -> str:
    """Return the batch script of a stage, or of several as an array, that waits for the jobs of its parents.

    One without such parents waits for the foreign jobs `before` it; all others do so through their parents. The jobs
    that it is `behind` need not end well.

    It has one task on each node, started by srun so that its signals arrive; the task starts the node's ranks. The
    line after srun decides, by how the stage or `setup` ended, whether the job is requeued.
    """
    mark = read_mark(folder)
    asked = _request(resources, notify, mark)
    own = [str(folder.path.resolve()), asked.model_dump_json(), *(found.name for found in stages)]
    parents = list(parent_jobs)
    first = "afterany" if stages[0].after == "any" and parents else "afterok"
    waits_for = _dependencies((first, parents or before), ("afterany", behind))
    return script(
        resources,
        code,
        log_folder(folder, stages),
        name=job_name(folder.id, [found.name for found in stages]),
        tasks=len(stages),
        command=f"-m slurm.stage.job {shlex.join(own)}",
        after=f"exec {shlex.join([sys.executable, '-m', 'slurm.stage.requeue'])} {{}} {shlex.join(own)}",
        options={
            "comment": _both(resources, "comment", mark.comment if mark is not None else "", " "),
            "dependency": _both(resources, "dependency", waits_for, ","),
        },
    )


def _request(resources: Allocation, notify: str | None, mark: Mark | None) -> Request:
    return Request(
        ranks_per_node=resources.ranks_per_node,
        restarts=resources.fruitless_restarts,
        stage_data=resources.stage_data,
        stop_notice_s=resources.stop_notice_s,
        notify=notify,
        token=mark.token if mark is not None else None,
    )


def _dependencies(*conditions: tuple[str, Iterable[str]]) -> str:
    """Return sbatch's `--dependency` on all jobs of each condition, without those that have none."""
    found = [[condition, *jobs] for condition, jobs in conditions]
    return ",".join(":".join(words) for words in found if len(words) > 1)


def _both(resources: Allocation, option: str, own: str, separator: str) -> str:
    """Return an sbatch option's value: what a person gives, followed by what the stage needs."""
    return separator.join(filter(None, [str(resources.sbatch.get(option, "")), own]))


def preview(
    folder: PipelineFolder,
    resources: Allocation,
    stages: Sequence[Stage],
    before: Sequence[str] = (),
    notify: str | None = None,
) -> str:
    """Return the sbatch script of a stage or an array, with its parents' names where their job ids will stand."""
    parents = [f"<{name}>" for name in stages[0].needs]
    text = stage_script(folder, resources, snapshot_path(folder.path), stages, parents, before, notify)
    return f"### {', '.join(stage.name for stage in stages)}\n{text}"
