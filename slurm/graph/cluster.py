"""Where stages run: a laptop or a Slurm cluster, each described by one YAML file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.config import Config, validate
from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.yaml_files import read_yaml, to_yaml
from benchmarks.training.numbers import Count, Positive
from slurm.graph.resources import (
    Allocation,
    Asked,
    Name,
    Resources,
    StageResources,
    count_of_ranks,
    merged,
    parse_memory,
    parse_time_limit,
)

CLUSTERS = Path(__file__).parent.parent / "clusters"
REPORT_TIME_LIMIT = "30m"
"""Of a report that is given no limit of its own; it takes seconds, or minutes for hundreds of runs."""
REPORT_STOP_NOTICE_S = 120
REPORT_MEMORY = "8GB"
"""At most, of a report that is given none of its own."""


class AnyCluster(Config):
    """What every cluster file may say for `plan`, which estimates the cost of a pipeline."""

    device: str | None = None
    """Part of the name of its devices: `H100`. `plan` uses only speeds measured on these; null: on any device."""
    images_per_second: dict[str, Positive] = Field(default_factory=dict)
    """The speed of one process, by the recipe's name; `plan` uses it before anything that was measured."""
    training_images: dict[str, Count] = Field(default_factory=dict)
    """How many training images, or videos, lie in a folder of data, by its path as the pipeline file has it: for `plan`
    on a machine that has no data."""
    notify: str | None = None
    """A shell command that is run when a stage has failed and when a pipeline has ended, where the pipeline's own file
    names none. Its variables MIMBENCH_PIPELINE, _FOLDER, _STAGE and _STATE say what happened."""

    def to_yaml(self) -> str:
        """Return the file with every field; it can be loaded again."""
        return to_yaml(self.model_dump(mode="json", exclude_none=True))


class LocalCluster(AnyCluster):
    """This machine: stages are processes, started when there is room for them."""

    executor: Literal["local"]
    cpus_per_stage: Count = 1
    """Threads of each stage (OMP_NUM_THREADS, MKL_NUM_THREADS), over all of its processes."""
    stages_at_once: Count | None = None
    """How many stages run side by side; null: as many as the GPUs below, or else the CPUs, are enough for."""
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Indices of the GPUs that stages may use; empty: stages run on the CPU."""
    gpus_per_stage: Count = 1
    """How many of `gpus` each stage has to itself; it has one process for each."""
    processes_per_stage: Count = 1
    """Processes of each stage on the CPU, where no `gpus` are named."""

    @model_validator(mode="after")
    def _one_process_for_each_gpu(self) -> LocalCluster:
        if self.gpus and self.processes_per_stage > 1:
            raise ValueError(
                "processes_per_stage only without `gpus`: a stage has one process per GPU (gpus_per_stage)"
            )
        if self.gpus_per_stage > max(1, len(self.gpus)):
            raise ValueError(f"gpus_per_stage of at most the number of `gpus`, {len(self.gpus)}")
        return self

    @property
    def places(self) -> int:
        """How many stages run side by side at most."""
        if self.gpus:
            room = len(self.gpus) // self.gpus_per_stage
            return min(self.stages_at_once or room, room)
        return self.stages_at_once or max(1, len(os.sched_getaffinity(0)) // self.cpus_per_stage)

    @property
    def ranks_per_stage(self) -> int:
        """Processes of each stage that trains."""
        return self.gpus_per_stage if self.gpus else self.processes_per_stage

    @property
    def has_gpus(self) -> bool:
        return bool(self.gpus)

    @property
    def longest_attempt_s(self) -> float:
        """How long a stage works before it must be requeued."""
        return math.inf

    def allocation(self, asked: StageResources | None, where: str) -> LocalCluster:  # noqa: ARG002 (every stage has the same)
        """Return what a stage has: what a pipeline file asks of Slurm is ignored here."""
        return self

    def summary(self) -> str:
        """Return what a stage has, in a few words."""
        return count_of_ranks(self.ranks_per_stage, self.has_gpus)


class SlurmCluster(AnyCluster, Allocation):
    """A Slurm cluster: every stage is one job. What is null is left to the site's defaults."""

    executor: Literal["slurm"]
    profiles: dict[Name, Resources] = Field(default_factory=dict)
    """Resources by a name that a stage of a pipeline file may choose; each is laid over the defaults above."""
    report: Asked | None = None
    """What a report asks for: `cpu`, or `{partition: cpu, time_limit: 20m}`."""
    array_size: Count = 50
    """How many seeds of a stage are one array of jobs, at most; 1 for a site without arrays. The array's name lists
    them, and Slurm takes 1023 letters."""

    @model_validator(mode="after")
    def _profiles_go_with_the_defaults(self) -> SlurmCluster:
        for name in self.profiles:
            self.allocation(StageResources(profile=name), f"profiles.{name}")
        self.report_allocation(None)
        return self

    @property
    def places(self) -> float:
        """How many stages run side by side: unlimited, because the queue decides and its length is not known here."""
        return math.inf

    def allocation(self, asked: StageResources | None, where: str) -> Allocation:
        """Return what a stage that trains has, by what its entry of the pipeline file asks for.

        Raises UserError, which names `where`, for an unknown profile and for fields that do not go together.
        """
        return merged(self, self._parts(asked, where), where)

    def report_allocation(self, asked: StageResources | None) -> Allocation:
        """Return what a report has: one process for minutes, where this file's `report` or `asked` say nothing else."""
        where = "report.resources"
        small = Resources(
            nodes=1,
            gpus_per_node=0,
            processes_per_node=1,
            time_limit=min(self.time_limit, REPORT_TIME_LIMIT, key=parse_time_limit),
            stop_notice_s=min(self.stop_notice_s, REPORT_STOP_NOTICE_S),
            memory=min(self.memory, REPORT_MEMORY, key=parse_memory) if self.memory else None,
        )
        found = merged(self, [small, *self._parts(self.report, "report"), *self._parts(asked, where)], where)
        if found.ranks_per_stage > 1:
            rule = "one node and at most one GPU: a report is one process"
            remedy = "name a smaller profile, or set nodes: 1, gpus_per_node: 0, processes_per_node: 1"
            raise UserError.about(where, found.summary(), rule, remedy)
        return found

    def _parts(self, asked: StageResources | None, where: str) -> Iterator[Resources]:
        if asked is None:
            return
        if asked.profile is not None:
            if asked.profile not in self.profiles:
                rule = "one of the cluster file's profiles"
                remedy = did_you_mean(asked.profile, self.profiles)
                raise UserError.about(f"{where}.profile", asked.profile, rule, remedy)
            yield self.profiles[asked.profile]
        if asked.prefer in self.profiles:
            yield self.profiles[asked.prefer]
        yield asked


Cluster = LocalCluster | SlurmCluster
Placed = LocalCluster | Allocation
"""What a stage has, wherever it runs."""
SCHEMAS: dict[str, type[LocalCluster] | type[SlurmCluster]] = {"local": LocalCluster, "slurm": SlurmCluster}


def load_cluster(source: str) -> Cluster:
    """Load a cluster by name (of `slurm/clusters/`) or by path. Raises UserError for what is unknown or wrong."""
    data = read_yaml(find_cluster(source))
    executor = str(data.get("executor", "(not given)"))
    if executor not in SCHEMAS:
        remedy = f"write `executor: local` or `executor: slurm`. {did_you_mean(executor, SCHEMAS)}"
        raise UserError.about(f"cluster {source}: executor", executor, "local or slurm", remedy)
    return validate(SCHEMAS[executor], data, f"cluster {source}")


def find_cluster(source: str) -> Path:
    """Return the file of a cluster given by name or by path."""
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or "/" in source:
        if path.is_file():
            return path
        raise UserError.about("cluster", source, "a file that exists", "check the path")
    named = CLUSTERS / f"{source}.yaml"
    if not named.is_file():
        hint = did_you_mean(source, [found.stem for found in CLUSTERS.glob("*.yaml")])
        raise UserError.about("cluster", source, "a cluster's name, or the path of a YAML file", hint)
    return named
