"""Launch a pipeline on Slurm: every stage is submitted at once as a job that depends on its parents' jobs."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths
from submitit.slurm.slurm import _make_sbatch_string

from benchmarks.errors import WorkFailed
from slurm import job
from slurm.cluster import SlurmCluster
from slurm.folder import Job, Manifest, PipelineFolder
from slurm.launch import forget_unfinished, set_entry
from slurm.snapshot import exports, snapshot_path
from slurm.stages import Stage
from slurm.state import QueueEntry, observe

SEPARATOR = "|"
REFUSALS = (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError, OSError)
"""What submitting raises where Slurm does not take a job."""


@dataclass(frozen=True)
class Submitted:
    """What a launch did with one stage."""

    stage: str
    job: str | None
    what: str
    """`submitted`, `live already`, `completed already`."""


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
        for stage in self.manifest.pipeline.stages:
            outcome = self._place(stage, live, fresh)
            done.append(outcome)
        return done

    def _place(self, stage: Stage, live: dict[str, str], fresh: set[str]) -> Submitted:
        """Submit one stage unless it is completed or live, and depends on nothing that was just submitted."""
        behind_fresh = any(parent in fresh for parent in stage.needs)
        if not behind_fresh and observe(self.folder, self.manifest.pipeline, stage).state == "completed":
            return Submitted(stage.name, None, "completed already")
        if stage.name in live and not behind_fresh and self._is_whole(stage, live[stage.name]):
            return self._adopt(stage, live[stage.name])
        if stage.name in live:  # it waits for an earlier attempt of its parents, or for a file that will never come
            cancel_jobs([live.pop(stage.name)])
        submitted = self.submit(stage, [live[parent] for parent in stage.needs if parent in live])
        live[stage.name] = submitted.id
        fresh.add(stage.name)
        return Submitted(stage.name, submitted.id, "submitted")

    def _is_whole(self, stage: Stage, job_id: str) -> bool:
        """Tell whether what a job loads is there: it is not where its launcher was killed just after submitting."""
        return JobPaths(self.folder.logs(stage.name).resolve(), job_id).submitted_pickle.is_file()

    def _adopt(self, stage: Stage, job_id: str) -> Submitted:
        adopted = Job(executor="slurm", id=job_id)
        self.manifest = set_entry(self.folder, self.manifest, stage.name, job=adopted, state="queued")
        return Submitted(stage.name, job_id, "live already")

    def submit(self, stage: Stage, parent_jobs: Iterable[str]) -> Job:
        """Submit one stage behind its parents' live jobs. Raises WorkFailed when Slurm refuses it."""
        self.folder.forget_attempt(stage.name)
        executor = submitit.SlurmExecutor(self.folder.logs(stage.name).resolve(), python=python(self.cluster))
        code = Path(self.manifest.code)
        executor.update_parameters(**parameters(self.folder, self.cluster, code, stage, parent_jobs))
        try:
            ranks = self.cluster.ranks_per_node if stage.trains else 1
            asked = job.Request(ranks, self.cluster.fruitless_restarts, self.cluster.stage_data)
            found = executor.submit(job.enter, str(self.folder.path.resolve()), stage.name, asked)
        except REFUSALS as error:
            raise WorkFailed(
                f"Slurm did not take stage {stage.name}: {last_line(error)}\n"
                "  Jobs that were submitted before it are kept.\n"
                "  remedy: mend the cluster file (--cluster) or wait for the controller; run the same command again."
            ) from error
        submitted = Job(executor="slurm", id=str(found.job_id))
        self.manifest = set_entry(self.folder, self.manifest, stage.name, job=submitted, state="queued")
        return submitted


def parameters(
    folder: PipelineFolder, cluster: SlurmCluster, code: Path, stage: Stage, parent_jobs: Iterable[str]
) -> dict[str, Any]:
    """Return submitit's parameters for one stage: one task on each node, started by srun so that its signals arrive.

    The task starts the node's ranks. A report has one process and needs no GPU.
    """
    parents = list(parent_jobs)
    cpus = cluster.cpus_per_process * (cluster.ranks_per_node if stage.trains else 1)
    condition = "afterany" if stage.after == "any" else "afterok"
    return {
        "job_name": job_name(folder.id, stage.name),
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
        "teardown": [_afterwards(folder, cluster, stage)],
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


def _afterwards(folder: PipelineFolder, cluster: SlurmCluster, stage: Stage) -> str:
    """Return the script's last line: it is given the exit code of srun, and its own is the job's."""
    asked = [str(folder.path.resolve()), stage.name, str(cluster.fruitless_restarts)]
    return f"exec {shlex.join([sys.executable, '-m', 'slurm.requeue', *asked])} $?"


def preview(folder: PipelineFolder, cluster: SlurmCluster, stage: Stage) -> str:
    """Return the sbatch script of a stage, with its parents' names where their job ids will stand."""
    logs = folder.logs(stage.name).resolve()
    command = f"{python(cluster)} -u -m submitit.core._submit {shlex.quote(str(logs))}"
    text: str = _make_sbatch_string(
        command=command,
        folder=logs,
        **parameters(folder, cluster, snapshot_path(folder.path), stage, [f"<{name}>" for name in stage.needs]),
    )
    return text


def job_name(pipeline_id: str, stage: str) -> str:
    return f"{pipeline_id}/{stage}"


@dataclass(frozen=True)
class Found:
    """A live job of a pipeline."""

    id: str
    entry: QueueEntry


def read_queue(pipeline_id: str) -> dict[str, Found]:
    """Return the live jobs of a pipeline by stage, found by name: also one whose id was never written down.

    Raises WorkFailed when Slurm does not answer.
    """
    form = SEPARATOR.join(["%i", "%T", "%r", "%j"])
    # Whoever submitted them: two people may work on one pipeline.
    lines = _ask(["squeue", "--noheader", "--format", form]).splitlines()
    found: dict[str, Found] = {}
    for line in lines:
        number, state, reason, name = line.split(SEPARATOR, 3)
        pipeline, _, stage = name.partition("/")
        if pipeline == pipeline_id:
            found[stage] = Found(number, QueueEntry(state, reason))
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
        _ask(["scancel", *jobs])


def _ask(command: list[str]) -> str:
    remedy = "  remedy: run this on a login node of the cluster, when its controller answers."
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        raise WorkFailed(f"Slurm is not on this machine: no `{command[0]}`\n{remedy}") from None
    except subprocess.CalledProcessError as error:
        raise WorkFailed(f"`{command[0]}` failed: {error.stderr.strip()}\n{remedy}") from None
    except subprocess.TimeoutExpired:
        raise WorkFailed(f"`{command[0]}` did not answer within a minute\n{remedy}") from None


def last_line(error: Exception) -> str:
    """Return what Slurm says in an error of submitting."""
    lines = [line.strip() for line in str(error).splitlines() if "error" in line.lower()]
    return lines[-1] if lines else str(error)
