"""What the partitions of a site have: a job that none of them could ever start is refused before it is submitted.

Slurm takes most such jobs, and lets them wait for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.errors import UserError, WorkFailed, did_you_mean
from slurm.controller.commands import run
from slurm.graph.resources import Allocation, parse_memory

MARK = "mimbench"
FORMAT = f"{MARK}|%P|%l|%D|%c|%m|%G"
LINE = re.compile(
    rf"{MARK}\|(?P<name>[^|*]+)(?P<default>\*?)\|(?P<limit>[^|]+)\|(?P<nodes>\d+)\|(?P<cpus>\d+)\+?\|"
    r"(?P<memory>\d+)\+?\|(?P<gres>.*)"
)
LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
GPUS = re.compile(r"\bgpu:(?:[^:,()]+:)*(\d+)")


@dataclass(frozen=True)
class Nodes:
    """Some nodes of a partition that are alike."""

    count: int
    cpus: int
    memory_mb: int
    gpus: int


@dataclass
class Partition:
    """One partition, whatever state its nodes are in."""

    limit_minutes: float | None
    """None: unlimited."""
    nodes: list[Nodes] = field(default_factory=list)


@dataclass(frozen=True)
class Site:
    """All partitions by name, and which of them is taken where none is named."""

    partitions: Mapping[str, Partition]
    default: str | None


def read_site() -> Site | None:
    """Return what sinfo shows; None where it is not here, does not answer, or cannot be understood."""
    try:
        done = run(["sinfo", "--noheader", "--exact", "--all", f"--format={FORMAT}"])
    except WorkFailed:
        return None
    partitions: dict[str, Partition] = {}
    default = None
    for line in done.stdout.splitlines():
        if (found := LINE.fullmatch(line.strip())) is None:
            continue
        name, gpus = found["name"], sum(map(int, GPUS.findall(found["gres"])))
        partition = partitions.setdefault(name, Partition(_minutes(found["limit"])))
        partition.nodes.append(Nodes(int(found["nodes"]), int(found["cpus"]), int(found["memory"]), gpus))
        default = name if found["default"] else default
    return Site(partitions, default) if partitions and not done.returncode else None


def _minutes(text: str) -> float | None:
    if (found := LIMIT.fullmatch(text)) is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 24 * 60 + hours * 60 + minutes + seconds / 60


def find_misfits(site: Site, asked: Mapping[str, Allocation]) -> Iterator[UserError]:
    """Yield, for each field name and what it asks for, why no partition that it names can ever start such a job.

    Where it names none, any may: many sites choose one by what a job asks for. Other clusters are not looked at.
    """
    seen: list[Allocation] = []
    for where, allocation in asked.items():
        if allocation in seen or "clusters" in allocation.sbatch:
            continue
        seen.append(allocation)
        default = [site.default] if site.default is not None else []
        stated = [name.strip() for name in (allocation.partition or "").split(",") if name.strip()]
        names = stated or [*default, *site.partitions]
        if unknown := [name for name in names if name not in site.partitions]:
            rule = "a partition of this cluster"
            yield UserError.about(f"{where}.partition", unknown[0], rule, did_you_mean(unknown[0], site.partitions))
            continue
        misfits = [found for name in names if (found := _misfit(where, name, site.partitions[name], allocation))]
        if len(misfits) == len(names):
            yield misfits[0]


def _misfit(where: str, name: str, partition: Partition, asked: Allocation) -> UserError | None:
    if partition.limit_minutes is not None and asked.time_limit_minutes > partition.limit_minutes:
        limit = f"{partition.limit_minutes:.0f}m"
        rule = f"at most the limit of partition {name} ({limit})"
        remedy = f"time_limit: {limit}, after which the stage goes on in a new attempt; or another partition"
        return UserError.about(f"{where}.time_limit", asked.time_limit, rule, remedy)
    memory_mb = parse_memory(asked.memory) if asked.memory else 0
    needs = (
        ("nodes", asked.nodes, "nodes", lambda _nodes: True),
        (
            "gpus_per_node",
            asked.gpus_per_node,
            "nodes with so many GPUs",
            lambda nodes: nodes.gpus >= asked.gpus_per_node,
        ),
        (
            "cpus_per_process",
            asked.cpus_per_process,
            f"nodes with {asked.cpus_per_node} CPUs, for {asked.ranks_per_node} processes on each",
            lambda nodes: nodes.cpus >= asked.cpus_per_node,
        ),
        ("memory", asked.memory, "nodes with so much memory", lambda nodes: nodes.memory_mb >= memory_mb),
    )
    left = partition.nodes
    for field_name, value, what, fits in needs:
        left = [nodes for nodes in left if fits(nodes)]
        if (count := sum(nodes.count for nodes in left)) < asked.nodes:
            rule = f"what partition {name} has: {count} {what}, where {asked.nodes} are asked for"
            remedy = "fewer, or another partition; `sinfo` shows what there is"
            return UserError.about(f"{where}.{field_name}", value, rule, remedy)
    return None
