"""Launch a pipeline on Slurm: every stage is submitted at once as a job that depends on its parents' jobs.

The seeds of a stage are one array of jobs.
"""

from __future__ import annotations

import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths
from submitit.slurm.slurm import _make_sbatch_string

from benchmarks.errors import WorkFailed
from slurm.graph.cluster import SlurmCluster
from slurm.graph.stages import Stage, arrays
from slurm.launch.prepare import forget_unfinished, set_entries
from slurm.launch.queue import cancel_jobs, job_name, read_queue
from slurm.launch.snapshot import exports, snapshot_path
from slurm.stage import job
from slurm.state.folder import Job, Manifest, PipelineFolder
from slurm.state.observe import observe

REFUSALS = (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError, OSError)
"""What submitting raises where Slurm does not take a job."""


What = Literal["submitted", "live already", "completed already"]


@dataclass(frozen=True)
class Submitted:
    """What a launch did with one stage."""

    stage: str
    job: str | None
    what: What


class SlurmLauncher:
    """Submits the stages that are neither completed nor live. Holding the pipeline's lock is the caller's."""

    def __init__(self, folder: PipelineFolder, manifest: Manifest, cluster: SlurmCluster) -> None:
        self.folder = folder
        self.manifest = manifest
        self.cluster = cluster

    def launch(self) -> list[Submitted]:
        """Submit what is needed; return what was done with every stage."""
        queue = read_queue(self.folder.id)
        live = {stage: found.id for stage, found in queue.items()}
        forget_unfinished(self.folder, self.manifest.pipeline, live)
        done: list[Submitted] = []
        fresh: set[str] = set()
        for stages in arrays(self.manifest.pipeline.stages, self.cluster.array_size):
            done += self._place(stages, live, fresh)
        return done

    def _place(self, stages: Sequence[Stage], live: dict[str, str], fresh: set[str]) -> Iterator[Submitted]:
        """Submit those stages of an array that are neither completed nor live."""
        what = {stage: self._judge(stage, live, fresh) for stage in stages}
        self._note({stage: live[stage.name] for stage in stages if what[stage] == "live already"})
        missing = [stage for stage in stages if what[stage] == "submitted"]
        if missing:
            # What waits for an earlier attempt of its parents, or for a file that will never come.
            cancel_jobs([live.pop(stage.name) for stage in missing if stage.name in live])
            parents = [live[parent] for parent in missing[0].needs if parent in live]
            jobs = self.submit(missing, parents)
            live |= {stage.name: submitted.id for stage, submitted in zip(missing, jobs, strict=True)}
            fresh |= {stage.name for stage in missing}
        for stage in stages:
            yield Submitted(stage.name, None if what[stage] == "completed already" else live[stage.name], what[stage])

    def _judge(self, stage: Stage, live: dict[str, str], fresh: set[str]) -> What:
        """Say what becomes of a stage: only one that depends on nothing new can stay as it is."""
        if any(parent in fresh for parent in stage.needs):
            return "submitted"
        if observe(self.folder, self.manifest.pipeline, stage).state == "completed":
            return "completed already"
        return "live already" if stage.name in live and self._is_whole(stage, live[stage.name]) else "submitted"

    def _is_whole(self, stage: Stage, job_id: str) -> bool:
        """Tell whether what a job loads is there: it is not where its launcher was killed just after submitting."""
        return self._paths(stage, job_id).submitted_pickle.is_file()

    def _paths(self, stage: Stage, job_id: str, node: int = 0) -> JobPaths:
        return JobPaths(_files(self.folder, stage, in_array="_" in job_id), job_id, node)

    def submit(self, stages: Sequence[Stage], parent_jobs: Iterable[str]) -> list[Job]:
        """Submit stages, all behind the same live jobs of their parents. Raises WorkFailed when Slurm refuses them."""
        for stage in stages:
            self.folder.forget_attempt(stage.name)
        cluster, code = self.cluster, Path(self.manifest.code)
        files = _files(self.folder, stages[0], in_array=len(stages) > 1)
        executor = submitit.SlurmExecutor(files, python=python(cluster))
        executor.update_parameters(**parameters(self.folder, cluster, code, stages, parent_jobs))
        ranks = cluster.ranks_per_node if stages[0].trains else 1
        asked = job.Request(ranks, cluster.fruitless_restarts, cluster.stage_data, cluster.stop_notice_s)
        calls = [functools.partial(job.enter, str(self.folder.path.resolve()), stage.name, asked) for stage in stages]
        try:
            found = executor.submit_array(calls)
        except PermissionError:  # of a folder; Slurm's own refusals are other errors
            raise
        except REFUSALS as error:
            raise WorkFailed(
                f"Slurm did not take stage {stages[0].name}: {last_line(error)}\n"
                "  Jobs that were submitted before it are kept.\n"
                "  remedy: mend the cluster file (--cluster) or wait for the controller; run the same command again."
            ) from error
        return self._note({stage: str(given.job_id) for stage, given in zip(stages, found, strict=True)})

    def _note(self, jobs: Mapping[Stage, str]) -> list[Job]:
        """Write down which jobs stand for stages."""
        noted = {stage.name: Job(executor="slurm", id=job_id) for stage, job_id in jobs.items()}
        if noted:
            changes = {name: {"job": submitted, "state": "queued"} for name, submitted in noted.items()}
            self.manifest = set_entries(self.folder, self.manifest, changes)
        for stage, job_id in jobs.items():
            if "_" in job_id:
                self._link_logs(stage, job_id)
        return list(noted.values())

    def _link_logs(self, stage: Stage, job_id: str) -> None:
        """Show in a stage's own folder what its task of an array will write in another."""
        own = self.folder.logs(stage.name).resolve()
        own.mkdir(exist_ok=True)
        for node in range(self.cluster.nodes):
            log = self._paths(stage, job_id, node).stdout
            link = own / log.name
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(log, own))


def _files(folder: PipelineFolder, stage: Stage, in_array: bool) -> Path:
    """Return where submitit's files and the logs of a stage's job lie; those of an array lie together."""
    return folder.logs(stage.seeds_of if in_array and stage.seeds_of else stage.name).resolve()


def parameters(
    folder: PipelineFolder, cluster: SlurmCluster, code: Path, stages: Sequence[Stage], parent_jobs: Iterable[str]
) -> dict[str, Any]:
    """Return submitit's parameters for a stage: one task on each node, started by srun so that its signals arrive.

    The task starts the node's ranks. A report has one process and needs no GPU. Several stages are an array, and all
    run at once if there is room.
    """
    stage, parents = stages[0], list(parent_jobs)
    cpus = cluster.cpus_per_process * (cluster.ranks_per_node if stage.trains else 1)
    condition = "afterany" if stage.after == "any" else "afterok"
    return {
        "job_name": job_name(folder.id, [stage.name for stage in stages]),
        "array_parallelism": len(stages),
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "time": cluster.time_limit_minutes,
        "nodes": cluster.nodes if stage.trains else 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus,
        "gpus_per_node": (cluster.gpus_per_node or None) if stage.trains else None,
        "mem": cluster.memory,
        "signal_delay_s": cluster.stop_notice_s,
        "stderr_to_stdout": True,
        "wckey": None,
        "setup": [*cluster.setup, *exports(code)],
        "teardown": [_afterwards(folder, cluster, stages)],
        "dependency": ":".join([condition, *parents]) if parents else None,
        "additional_parameters": {
            "kill-on-invalid-dep": "yes",
            "requeue": True,
            "open-mode": "append",
            **cluster.sbatch,
        },
        # srun does not inherit the CPUs since Slurm 22.05. Where the task of one node is lost, the others cannot go on.
        "srun_args": [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=1", *_container(cluster)],
    }


def _container(cluster: SlurmCluster) -> list[str]:
    image = [f"--container-image={cluster.container}"] if cluster.container is not None else []
    return image + ([f"--container-mounts={','.join(cluster.container_mounts)}"] if cluster.container_mounts else [])


def python(cluster: SlurmCluster) -> str:
    """Return the command of the interpreter that runs stages."""
    return shlex.quote(cluster.python or sys.executable)


def _afterwards(folder: PipelineFolder, cluster: SlurmCluster, stages: Sequence[Stage]) -> str:
    """Return the script's last line: it is given the exit code of srun, and its own is the job's."""
    asked = [str(folder.path.resolve()), str(cluster.fruitless_restarts)]
    names = shlex.join(stage.name for stage in stages)
    return f"exec {shlex.join([sys.executable, '-m', 'slurm.stage.requeue', *asked])} $? {names}"


def preview(folder: PipelineFolder, cluster: SlurmCluster, stages: Sequence[Stage]) -> str:
    """Return the sbatch script of a stage or an array, with its parents' names where their job ids will stand."""
    files = _files(folder, stages[0], in_array=len(stages) > 1)
    command = f"{python(cluster)} -u -m submitit.core._submit {shlex.quote(str(files))}"
    parents = [f"<{name}>" for name in stages[0].needs]
    text: str = _make_sbatch_string(
        command=command,
        folder=files,
        map_count=len(stages) if len(stages) > 1 else None,
        **parameters(folder, cluster, snapshot_path(folder.path), stages, parents),
    )
    return f"### {', '.join(stage.name for stage in stages)}\n{text}"


def last_line(error: Exception) -> str:
    """Return what Slurm says in an error of submitting."""
    lines = [line.strip() for line in str(error).splitlines() if "error" in line.lower()]
    return lines[-1] if lines else str(error)
