"""`mimbench doctor --cluster NAME`: a job of one minute, asked for like a stage, says what its nodes have and lack."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import submitit

from benchmarks.config import Config
from benchmarks.doctor import PROBE, Finding, show
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files import make_folder, write_atomically
from slurm.graph.cluster import SlurmCluster, load_cluster
from slurm.graph.stages import Stage
from slurm.launch.queue import cancel_jobs, job_state
from slurm.launch.sbatch import REFUSALS, last_line, parameters, python
from slurm.launch.snapshot import take_snapshot
from slurm.state.folder import PipelineFolder, read_as

STAGE = Stage(name="check", argv=(), announces=True)
LOOK_EVERY_S = 1.0
IMPORT_S = 45
"""How long importing torch may take."""
SHARED_FILES_S = 30
SKEW_S = 60.0
"""Clocks that differ by more make the times in logs and tables misleading; nothing else depends on them."""


class NodeReport(Config):
    """What one node of the job found."""

    node: str
    at: float
    cpus: int
    gpus: int | None
    """As torch sees them; None where it could not be imported."""
    engine: str
    address: str | None
    """Of the node's name; None where it does not resolve."""
    commands: tuple[str, ...]
    """Those of Slurm that requeueing needs and that are here."""
    data_places: dict[str, str]
    """Of the cluster file's `stage_data`: why a place cannot be written, by its path."""


def main(argv: Sequence[str]) -> int:
    """Submit the job, wait for it, print what does not work; return 0 when nothing is missing, else 1."""
    parser = argparse.ArgumentParser(prog="mimbench doctor --cluster", description=__doc__, allow_abbrev=False)
    parser.add_argument("cluster", metavar="NAME", help="slurm, or the YAML file of a cluster")
    parser.add_argument(
        "--pipelines", type=Path, default=Path("pipelines"), metavar="DIR", help="where pipelines lie (pipelines/)"
    )
    arguments = parser.parse_args(argv)
    cluster = load_cluster(arguments.cluster)
    if not isinstance(cluster, SlurmCluster):
        raise UserError.about(
            "--cluster", arguments.cluster, "a Slurm cluster", "`mimbench doctor` checks this machine"
        )
    folder = PipelineFolder(arguments.pipelines / "doctor")
    reports, remark = _ask_nodes(folder, cluster)
    findings = [*_job_findings(cluster, reports, remark)]
    for report in reports:
        findings += _node_findings(cluster, report)
    show(f"cluster {arguments.cluster}", findings)
    lacking = [finding.name for finding in findings if finding.state != "ok"]
    print(f"Does not work: {', '.join(lacking)}." if lacking else "Stages can run on this cluster.")
    return 1 if lacking else 0


def _ask_nodes(folder: PipelineFolder, cluster: SlurmCluster) -> tuple[list[NodeReport], str]:
    """Run the job; return what each node wrote, and Slurm's last word where the job did not end well."""
    make_folder(folder.path)
    code, answers = take_snapshot(folder.path), folder.path / f"answers-{time.time_ns()}"
    make_folder(answers)
    asked = parameters(folder, cluster.model_copy(update={"time_limit": "1m", "stop_notice_s": 30}), code, [STAGE], [])
    executor = submitit.SlurmExecutor(folder.logs(STAGE.name).resolve(), python=python(cluster))
    # The notice before the time limit may come as soon as so short a job begins, and would end it.
    harmless = {**asked["additional_parameters"], "signal": "CONT@1"}
    executor.update_parameters(**{**asked, "teardown": None, "additional_parameters": harmless})
    try:
        job = str(executor.submit(probe, str(answers.resolve()), list(cluster.stage_data.values())).job_id)
    except REFUSALS as error:
        raise WorkFailed(f"Slurm did not take the job: {last_line(error)}") from error
    print(f"job {job}: {folder.logs(STAGE.name)}; Ctrl-C cancels it", flush=True)
    try:
        last = _wait(job)
    except KeyboardInterrupt:
        cancel_jobs([job])
        raise
    return _read_answers(answers, cluster.nodes), last


def _wait(job: str) -> str:
    """Wait until the job has left the queue, telling how it stands whenever that changes; return its last state."""
    last = ""
    while (now := job_state(job)) is not None:
        if now != last:
            print(f"  {now}", flush=True)
        last = now
        time.sleep(LOOK_EVERY_S)
    return last


def _read_answers(answers: Path, nodes: int) -> list[NodeReport]:
    """Return the nodes' answers, giving a shared file system time to show them."""
    deadline = time.monotonic() + SHARED_FILES_S
    while True:
        found = [report for path in sorted(answers.glob("*.json")) if (report := read_as(NodeReport, path))]
        if len(found) >= nodes or time.monotonic() > deadline:
            shutil.rmtree(answers, ignore_errors=True)
            return found
        time.sleep(LOOK_EVERY_S)


def _job_findings(cluster: SlurmCluster, reports: Sequence[NodeReport], last: str) -> Iterator[Finding]:
    purpose = "a job with this file's partition, account and sizes runs, and its nodes write to this folder"
    if len(reports) == cluster.nodes:
        yield Finding("job", "ok", f"{len(reports)} of {cluster.nodes} nodes answered", purpose)
    else:
        remedy = "read the job's log; is the working directory on a file system that all nodes share?"
        found = f"{len(reports)} of {cluster.nodes} nodes answered, last seen {last or 'nowhere'}"
        yield Finding("job", "wrong", found, purpose, remedy)
    skew = max((abs(report.at - time.time()) for report in reports), default=0.0)
    if skew > SKEW_S + IMPORT_S:
        yield Finding("clocks", "warning", f"{skew:.0f} s apart", "times in logs and tables", "ask the site for NTP")


def _node_findings(cluster: SlurmCluster, report: NodeReport) -> Iterator[Finding]:
    def finding(what: str, fits: bool, found: str, purpose: str, remedy: str) -> Finding:
        return Finding(f"{report.node} {what}", "ok" if fits else "wrong", found, purpose, "" if fits else remedy)

    cpus = cluster.cpus_per_process * cluster.ranks_per_node
    yield finding("CPUs", report.cpus >= cpus, f"{report.cpus} of {cpus}", "loader processes", "lower cpus_per_process")
    remedy = "does `setup` load what this program needs? is `python` the right interpreter?"
    yield finding("torch", report.gpus is not None, report.engine, "trains", remedy)
    if cluster.has_gpus and report.gpus is not None:
        remedy = "gpus_per_node, or the driver: run nvidia-smi on the node"
        found = f"{report.gpus} of {cluster.gpus_per_node}"
        yield finding("GPUs", report.gpus == cluster.gpus_per_node, found, "one process for each", remedy)
    if cluster.nodes > 1:
        remedy = "ask the site; until then the address in Slurm's configuration is used"
        yield finding("name", report.address is not None, str(report.address), "where the ranks meet", remedy)
    fits = {"squeue", "scontrol"} <= {*report.commands}
    remedy = "stages cannot go on by themselves at the time limit: ask the site for slurm-client on the nodes"
    yield finding("requeue", fits, ", ".join(report.commands) or "no scontrol", "the time limit, crashes", remedy)
    for place, why in report.data_places.items():
        yield finding(place, not why, why or "can be written", "stage_data", "name a folder on the node that is yours")


def probe(answers: str, data_places: Sequence[str]) -> None:
    """Write what this node has; the job's task on each node."""
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    began = time.time()
    gpus, engine = _engine()
    report = NodeReport(
        node=name,
        at=began,
        cpus=len(os.sched_getaffinity(0)),
        gpus=gpus,
        engine=engine,
        address=_address(name),
        commands=tuple(command for command in ("squeue", "scontrol") if shutil.which(command)),
        data_places={place: _why_not_writable(Path(place)) for place in data_places},
    )
    write_atomically(Path(answers) / f"{name}.json", report.model_dump_json().encode())


def _engine() -> tuple[int | None, str]:
    try:
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=IMPORT_S)
    except subprocess.TimeoutExpired:
        return None, f"not imported within {IMPORT_S} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    found = json.loads(done.stdout.splitlines()[-1])
    return len(found["gpus"]), f"torch {found['torch']}, CUDA {found['cuda'] or 'none'}"


def _address(name: str) -> str | None:
    try:
        return str(socket.getaddrinfo(name, None)[0][4][0])
    except OSError:
        return None


def _why_not_writable(place: Path) -> str:
    try:
        make_folder(place.parent)
    except (UserError, WorkFailed) as error:
        return str(error).splitlines()[0]
    return "" if os.access(place.parent, os.W_OK) else f"{place.parent} cannot be written"
