"""`mimbench doctor --cluster NAME`: a job of one minute, asked for like a stage, says what its nodes have and lack."""

from __future__ import annotations

import argparse
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.doctor import Finding, show
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import make_folder
from slurm.controller.jobs import ENDED, cancel_jobs, find_job
from slurm.controller.submission import submit_script
from slurm.graph.cluster import SlurmCluster, load_cluster
from slurm.launch.sbatch import script
from slurm.launch.snapshot import take_snapshot
from slurm.stage.probe import IMPORT_S, NodeReport
from slurm.state.folder import PipelineFolder, read_as
from slurm.state.shared_files import LOOK_EVERY_S, wait_for

NAME = "doctor/check"
SKEW_S = 60.0
"""Clocks that differ by more make the times in logs and tables misleading; nothing else depends on them."""


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
    """Run the job; return what each node wrote, and the last state in which Slurm showed the job."""
    make_folder(folder.path)
    code, answers, logs = take_snapshot(folder.path), folder.path / f"answers-{time.time_ns()}", folder.logs("check")
    make_folder(answers)
    short = cluster.model_copy(update={"time_limit": "1m", "stop_notice_s": 30})
    asked = ["-m", "slurm.stage.probe", str(answers.resolve()), *cluster.stage_data.values()]
    # The notice before the time limit may come as soon as so short a job begins, and would end it.
    harmless = {"signal": "CONT@1"}
    text = script(short, code, logs.resolve(), name=NAME, command=shlex.join(asked), options=harmless)
    try:
        job = submit_script(text, logs, NAME, None)
    except WorkFailed as error:
        raise WorkFailed(f"Slurm did not take the job: {error}") from error
    print(f"job {job}: {logs}; Ctrl-C cancels it", flush=True)
    try:
        last = _wait(job)
    except KeyboardInterrupt:
        cancel_jobs([job])
        raise
    return _read_answers(answers, cluster.nodes), last


def _wait(job: str) -> str:
    """Wait until the job has left the queue, printing its state whenever that changes; return its last state."""
    last = ""
    while (found := find_job(job)) is not None and found.entry.state not in ENDED:
        reason = f" ({found.entry.reason})" if found.entry.reason != "None" else ""
        if last != (last := found.entry.state + reason):
            print(f"  {last}", flush=True)
        time.sleep(LOOK_EVERY_S)
    return last


def _read_answers(answers: Path, nodes: int) -> list[NodeReport]:
    """Return the nodes' reports; those that a shared file system shows late are waited for."""

    def found() -> list[NodeReport]:
        return [report for path in sorted(answers.glob("*.json")) if (report := read_as(NodeReport, path))]

    reports = wait_for(lambda: all_there if len(all_there := found()) >= nodes else None) or found()
    shutil.rmtree(answers, ignore_errors=True)
    return reports


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
