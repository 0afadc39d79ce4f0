"""`mimbench doctor --cluster NAME`: jobs of one minute, asked for like stages, say what its nodes have and lack."""

from __future__ import annotations

import argparse
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.doctor import Finding, show
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import make_folder
from slurm.controller.jobs import ENDED, cancel_jobs, find_job
from slurm.controller.submission import submit_script
from slurm.graph.cluster import SlurmCluster, load_cluster
from slurm.graph.resources import Allocation, StageResources, merged
from slurm.launch.script import script
from slurm.launch.snapshot import take_snapshot
from slurm.stage.probe import IMPORT_S, NodeReport
from slurm.state.folder import PipelineFolder, read_as
from slurm.state.last_words import last_words
from slurm.state.shared_files import LOOK_EVERY_S, SHARED_FILES_S, wait_for

NAME = "doctor/check"
SIZES = (
    *("nodes", "gpus_per_node", "processes_per_node", "cpus_per_process", "memory"),
    *("time_limit", "stop_notice_s", "fruitless_restarts"),
)
"""Of two jobs that differ in these alone, the larger shows what the smaller would."""
LOG_LINES = 3
"""How many last lines of its log are quoted of a job that not all nodes answered."""
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
    findings = []
    for found in _ask_nodes(PipelineFolder(arguments.pipelines / "doctor"), asked_for(cluster)):
        findings += [*_job_findings(found)]
        for report in found.reports:
            findings += _node_findings(found, report)
    show(f"cluster {arguments.cluster}", findings)
    lacking = [finding.name for finding in findings if finding.state != "ok"]
    print(f"Does not work: {', '.join(lacking)}." if lacking else "Stages can run on this cluster.")
    return 1 if lacking else 0


@dataclass(frozen=True)
class Check:
    """One job that was asked for like a stage, and what came of it."""

    name: str
    """Empty where it is the only one."""
    asked: Allocation
    reports: list[NodeReport]
    last: str
    """Slurm's last word on a job that did not end well, and the last lines of its log."""

    def named(self, what: str) -> str:
        return f"{self.name}: {what}" if self.name else what


def asked_for(cluster: SlurmCluster) -> dict[str, Allocation]:
    """Return the different things that stages may ask for: the defaults, each profile, the report."""
    profiles = {name: cluster.allocation(StageResources(profile=name), name) for name in cluster.profiles}
    named = {"defaults": merged(cluster, [], "defaults"), **profiles, "report": cluster.report_allocation(None)}
    different: dict[str, Allocation] = {}
    largest_first = sorted(named.items(), key=lambda found: (found[1].nodes, found[1].cpus_per_node), reverse=True)
    for name, asked in largest_first:
        if not any(_probed_alike(asked, other) for other in different.values()):
            different[name] = asked
    return different


def _probed_alike(one: Allocation, other: Allocation) -> bool:
    """Tell whether what `other` finds is all that `one` would find: the same place, and at least as much of it."""
    larger = one.nodes <= other.nodes and one.cpus_per_node <= other.cpus_per_node
    larger = larger and one.gpus_per_node in (0, other.gpus_per_node)
    return larger and one.model_copy(update={name: getattr(other, name) for name in SIZES}) == other


def _ask_nodes(folder: PipelineFolder, asked: Mapping[str, Allocation]) -> list[Check]:
    """Run a job for each of several allocations, all at once; return what each of their nodes wrote."""
    make_folder(folder.path)
    code, logs = take_snapshot(folder.path), folder.logs("check")
    answers = {name: folder.path / f"answers-{name}-{time.time_ns()}" for name in asked}
    jobs: dict[str, str] = {}
    last: dict[str, str] = {}
    try:
        for name, allocation in asked.items():
            try:
                jobs[name] = _submit(name, allocation, code, answers[name], logs)
            except WorkFailed as error:
                last[name] = f"not taken by Slurm: {error}"
        last |= {name: _wait(job) for name, job in jobs.items()}
    except KeyboardInterrupt:
        cancel_jobs(list(jobs.values()))
        raise
    checks = []
    for name, allocation in asked.items():
        patience_s = LOOK_EVERY_S if last[name] in ENDED - {"COMPLETED"} else SHARED_FILES_S
        reports = _read_answers(answers[name], allocation.nodes, patience_s) if name in jobs else []
        if name in jobs and len(reports) < allocation.nodes:
            last[name] = _with_log(last[name], logs / f"{jobs[name]}_0_log.out")
        checks.append(Check(name if len(asked) > 1 else "", allocation, reports, last[name]))
    return checks


def _submit(name: str, asked: Allocation, code: Path, answers: Path, logs: Path) -> str:
    """Submit the job of one check; return its id. Raises WorkFailed, in Slurm's words, where it does not take it."""
    make_folder(answers)
    short = asked.model_copy(update={"time_limit": "1m", "stop_notice_s": 30})
    command = ["-m", "slurm.stage.probe", str(answers.resolve()), *asked.stage_data.values()]
    # The notice before the time limit may come as soon as so short a job begins, and would end it.
    harmless = {"signal": "CONT@1", "dependency": ""}
    text = script(short, code, logs.resolve(), name=NAME, command=shlex.join(command), options=harmless)
    job = submit_script(text, logs, NAME, None)
    print(f"job {job} ({name}, {asked.summary()}): {logs}; Ctrl-C cancels it", flush=True)
    return job


def _wait(job: str) -> str:
    """Wait until the job has ended, printing its state whenever that changes; return the last that Slurm shows."""
    last = ""
    while (found := find_job(job)) is not None:
        if found.entry.state in ENDED:
            return found.entry.state
        reason = f" ({found.entry.reason})" if found.entry.reason != "None" else ""
        if last != (last := found.entry.state + reason):
            print(f"  {last}", flush=True)
        time.sleep(LOOK_EVERY_S)
    return last


def _with_log(state: str, log: Path) -> str:
    """Return a job's last state, with the last lines of its log."""
    words = last_words(log, most=LOG_LINES)
    return (state or "it was never seen in the queue") + (f"; its log ends: {words}" if words else "")


def _read_answers(answers: Path, nodes: int, patience_s: float) -> list[NodeReport]:
    """Return the nodes' reports; those that a shared file system shows late are waited for."""

    def found() -> list[NodeReport]:
        return [report for path in sorted(answers.glob("*.json")) if (report := read_as(NodeReport, path))]

    reports = wait_for(lambda: all_there if len(all_there := found()) >= nodes else None, patience_s) or found()
    shutil.rmtree(answers, ignore_errors=True)
    return reports


def _job_findings(check: Check) -> Iterator[Finding]:
    purpose = "a job with this file's partition, account and sizes runs, and its nodes write to this folder"
    name, nodes, reports = check.named("job"), check.asked.nodes, check.reports
    if len(reports) == nodes:
        yield Finding(name, "ok", f"{len(reports)} of {nodes} nodes answered", purpose)
    else:
        remedy = "fix the cluster file, or read the job's log; do all nodes share the working directory's file system?"
        found = f"{len(reports)} of {nodes} nodes answered; {check.last}"
        yield Finding(name, "wrong", found, purpose, remedy)
    skew = max((abs(report.at - time.time()) for report in reports), default=0.0)
    if skew > SKEW_S + IMPORT_S:
        found = f"{skew:.0f} s apart"
        yield Finding(check.named("clocks"), "warning", found, "times in logs and tables", "ask the site for NTP")


def _node_findings(check: Check, report: NodeReport) -> Iterator[Finding]:
    asked = check.asked

    def finding(what: str, fits: bool, found: str, purpose: str, remedy: str) -> Finding:
        name = check.named(f"{report.node} {what}")
        return Finding(name, "ok" if fits else "wrong", found, purpose, "" if fits else remedy)

    cpus = asked.cpus_per_node
    yield finding("CPUs", report.cpus >= cpus, f"{report.cpus} of {cpus}", "loader processes", "lower cpus_per_process")
    remedy = "does `setup` load what this program needs? is `python` the right interpreter?"
    yield finding("torch", report.gpus is not None, report.engine, "trains", remedy)
    if asked.has_gpus and report.gpus is not None:
        remedy = "gpus_per_node, or the driver: run nvidia-smi on the node"
        found = f"{report.gpus} of {asked.gpus_per_node}"
        yield finding("GPUs", report.gpus == asked.gpus_per_node, found, "one process for each", remedy)
    if asked.nodes > 1:
        remedy = "ask the site; until then the address in Slurm's configuration is used"
        yield finding("name", report.address is not None, str(report.address), "where the ranks meet", remedy)
    fits = {"squeue", "scontrol"} <= {*report.commands}
    remedy = "stages cannot go on by themselves at the time limit: ask the site for slurm-client on the nodes"
    yield finding("requeue", fits, ", ".join(report.commands) or "no scontrol", "the time limit, crashes", remedy)
    for place, why in report.data_places.items():
        yield finding(place, not why, why or "can be written", "stage_data", "name a folder on the node that is yours")
