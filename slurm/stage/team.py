"""A stage in several processes, one rank each, on one node or several.

The stage's job has one process on every node. The first node's holds the stage's lock, writes its attempt and decides;
it writes into the attempt where the ranks meet. The processes of the other nodes follow the attempt: they start their
ranks when it names a meeting, write down how these ended, and go when the attempt is finished. So all of them need the
pipeline's folder, and nothing else passes between them.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.config import Config
from benchmarks.files.atomic import write_atomically
from slurm.controller.commands import run
from slurm.stage.rank_processes import EXCHANGE_S, Exchange, News, RankProcesses
from slurm.stage.requeue import this_start
from slurm.state.attempt import Attempt, Meeting, RankEnd, first_cause
from slurm.state.folder import PipelineFolder, read_as

PORTS = range(15_000, 30_000)
"""Below those that Linux gives to outgoing connections (32768 and up), which could take a port that was just free."""


@dataclass(frozen=True)
class Layout:
    """How the ranks of a stage are spread over nodes, and which of these nodes this one is."""

    ranks_per_node: int = 1
    nodes: int = 1
    node: int = 0
    job: str = ""
    """The job's id and how often it was requeued, so that an earlier start's files are not taken for this one's."""

    @property
    def world_size(self) -> int:
        return self.nodes * self.ranks_per_node

    def environments(self, meeting: Meeting) -> dict[int, dict[str, str]]:
        """Return the variables of this node's ranks, by rank; the names are torchrun's."""
        threads = max(1, int(os.environ.get("SLURM_CPUS_PER_TASK", "1")) // self.ranks_per_node)
        common = {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.ranks_per_node),
            "MASTER_ADDR": meeting.address,
            "MASTER_PORT": str(meeting.port),
        }
        first = self.node * self.ranks_per_node
        return {
            first + local: {**common, "RANK": str(first + local), "LOCAL_RANK": str(local)}
            for local in range(self.ranks_per_node)
        }


def layout_here(ranks_per_node: int) -> Layout:
    """Return the layout of the stage that this process runs, from Slurm's variables; elsewhere there is one node."""
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return Layout(ranks_per_node, job=str(os.getpid()))
    return Layout(
        ranks_per_node,
        nodes=int(os.environ["SLURM_JOB_NUM_NODES"]),
        node=int(os.environ["SLURM_NODEID"]),
        job=this_start(),
    )


class Report(Config):
    """How the ranks of one node, not the first, ended in one meeting."""

    meeting: Meeting
    ends: tuple[RankEnd, ...]


def lead(folder: PipelineFolder, stage: str, attempt: Attempt, layout: Layout, argv: Sequence[str]) -> RankEnd | None:
    """Run a verb in all ranks of the stage, on the first node; return the end that made it end badly, or None.

    The other nodes start their ranks when they read this meeting in the attempt.
    """
    meeting = Meeting(number=time.time_ns(), address=_address(layout), port=free_port(layout.job))
    folder.write_attempt(stage, attempt.model_copy(update={"meeting": meeting}))

    def hear(_own: Sequence[RankEnd]) -> News:
        reports = (read_as(Report, _report(folder, stage, node)) for node in range(1, layout.nodes))
        return News(tuple(end for found in reports if found and found.meeting == meeting for end in found.ends))

    with RankProcesses(argv, layout.environments(meeting)) as ranks:
        ranks.watch(layout.world_size, hear)
        return first_cause(ranks.ends.values())


def follow(folder: PipelineFolder, stage: str, layout: Layout, argv: Sequence[str]) -> None:
    """Start and watch this node's ranks for every meeting that the first node calls; return when the stage is over.

    The first node alone decides how the stage ended: srun ends the step if this process is killed.
    """
    for meeting in _meetings(folder, stage, layout):
        with RankProcesses(argv, layout.environments(meeting)) as ranks:
            ranks.watch(layout.ranks_per_node, _reporter(folder, stage, layout, meeting))


def _reporter(folder: PipelineFolder, stage: str, layout: Layout, meeting: Meeting) -> Exchange:
    path = _report(folder, stage, layout.node)

    def report_ends(ends: Sequence[RankEnd]) -> News:
        report = Report(meeting=meeting, ends=tuple(ends))
        if ends and read_as(Report, path) != report:
            write_atomically(path, report.model_dump_json(indent=2).encode())
        now = folder.read_attempt(stage)
        return News(is_over=now is not None and (now.finished_at is not None or now.meeting != meeting))

    return report_ends


def _meetings(folder: PipelineFolder, stage: str, layout: Layout) -> Iterator[Meeting]:
    """Yield every meeting of this job's attempt, until that is finished."""
    last: Meeting | None = None
    while True:
        attempt = folder.read_attempt(stage)
        if attempt is not None and attempt.job == layout.job:
            if attempt.finished_at is not None or attempt.skipped is not None:
                return
            if attempt.meeting is not None and attempt.meeting != last:
                last = attempt.meeting
                yield last
        time.sleep(EXCHANGE_S)


def _report(folder: PipelineFolder, stage: str, node: int) -> Path:
    return folder.path / "attempts" / f"{stage}.node{node}.json"


def _address(layout: Layout) -> str:
    """Return the address at which other nodes reach this one: its name if that resolves, else Slurm's NodeAddr."""
    if layout.nodes == 1:
        return "127.0.0.1"
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        found = run(["scontrol", "show", "node", "--oneliner", name])
        words = (word.partition("=") for word in found.stdout.split())
        return next((value for key, _, value in words if key == "NodeAddr"), name)
    return name


def free_port(job: str) -> int:
    """Return a port that nothing listens on here: the one that belongs to the job's id, or else the next."""
    first = sum(map(int, job.partition(".")[0].split("_"))) % len(PORTS)
    for port in itertools.chain(PORTS[first:], PORTS[:first]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free on {socket.gethostname()}")
