"""Where stages run: a laptop or a Slurm cluster, each described by one YAML file."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from benchmarks.config import Config, validate
from benchmarks.errors import UserError, did_you_mean
from benchmarks.files.yaml_files import read_yaml, to_yaml
from benchmarks.training import Count, Positive

CLUSTERS = Path(__file__).parent.parent / "clusters"

_MINUTES = {"d": 24 * 60, "h": 60, "m": 1}
_UNITS = re.compile(r"(?:\d+[dhm])+")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d{2}):(\d{2})")
_MEMORY = re.compile(r"\d+(?:MB|GB|TB|M|G|T)")


def parse_time_limit(text: str) -> int:
    """Return a time limit in minutes, rounded up. Known forms: `72h`, `90m`, `1d12h`, `72:00:00`, `3-00:00:00`.

    Raises ValueError for anything else, a bare number first of all: Slurm reads `72` as minutes, people mean hours.
    """
    if _UNITS.fullmatch(text):
        minutes = float(sum(int(n) * _MINUTES[unit] for n, unit in re.findall(r"(\d+)([dhm])", text)))
    elif clock := _CLOCK.fullmatch(text):
        days, hours, mins, seconds = (int(part or 0) for part in clock.groups())
        minutes = days * 24 * 60 + hours * 60 + mins + seconds / 60
    else:
        raise ValueError("a time with its unit: 72h, 90m, 1d12h, or 3-00:00:00 (days-hours:minutes:seconds), in quotes")
    if minutes == 0:
        raise ValueError("a time above zero")
    return math.ceil(minutes)


def _time_limit(value: object) -> str:
    text = str(value)  # YAML makes a number of `72` and of an unquoted `72:00:00`
    parse_time_limit(text)
    return text


def _memory(value: object) -> str:
    text = str(value)
    if not _MEMORY.fullmatch(text):
        raise ValueError("a size with its unit: 64GB, 500MB")
    return text


class AnyCluster(Config):
    """What every cluster file may say for `plan`, which estimates the cost of a pipeline."""

    device: str | None = None
    """Part of the name of its devices: `H100`. `plan` uses only speeds measured on these; null: on any device."""
    images_per_second: dict[str, Positive] = Field(default_factory=dict)
    """The speed of one process, by the recipe's name; `plan` uses it where no run has measured the speed yet."""

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


class SlurmCluster(AnyCluster):
    """A Slurm cluster: every stage is one job. What is null is left to the site's defaults."""

    executor: Literal["slurm"]
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    """Features that nodes must have, in Slurm's syntax: `a100|h100`."""
    nodes: Count = 1
    """Nodes of each stage that trains; a report runs on one."""
    gpus_per_node: Annotated[int, Field(ge=0)] = 1
    """GPUs of each stage on each node; a stage has one process for each."""
    processes_per_node: Count = 1
    """Processes of each stage on each node, where gpus_per_node is 0."""
    cpus_per_process: Count = 8
    memory: Annotated[str, BeforeValidator(_memory)] | None = None
    """Per node, with its unit: `64GB`."""
    time_limit: Annotated[str, BeforeValidator(_time_limit)]
    """Per stage, with its unit: `72h`, `90m`, `3-00:00:00`. Quote it: plain YAML reads 72:00:00 as a number."""
    stop_notice_s: Annotated[int, Field(ge=30)] = 120
    """Seconds before the time limit at which Slurm asks a stage (SIGUSR2) to save and stop."""
    fruitless_restarts: Annotated[int, Field(ge=0)] = 2
    """How often in a row a job is requeued though its last start left no new checkpoint. A stage that crashed, lost
    its node or reached the time limit is always requeued where it did leave one."""
    setup: tuple[str, ...] = ()
    """Shell commands run on the node before the stage: `module load cuda`."""
    container: str | None = None
    """Image in which stages run, on sites whose srun has the option --container-image (pyxis)."""
    container_mounts: tuple[str, ...] = ()
    """Folders of the node that the image sees, `FROM:TO`; the working directory must be among them."""
    python: str | None = None
    """Interpreter that runs the stages, where it is not the one that submits them: the container's, for example."""
    stage_data: dict[str, str] = Field(default_factory=dict)
    """Data folders that are copied to each node once, and read from there: `{/data/imagenet: /local/imagenet}`."""
    array_size: Count = 50
    """How many seeds of a stage are one array of jobs, at most; 1 for a site without arrays. The array's name lists
    them, and Slurm takes 1023 letters."""
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    """Any other sbatch option, without its dashes: `{exclude: node7, requeue: true}`."""

    @model_validator(mode="after")
    def _one_process_for_each_gpu(self) -> SlurmCluster:
        if self.gpus_per_node and self.processes_per_node > 1:
            raise ValueError("processes_per_node only with `gpus_per_node: 0`: a stage has one process per GPU")
        if self.container_mounts and self.container is None:
            raise ValueError("container_mounts only with `container`")
        return self

    @property
    def time_limit_minutes(self) -> int:
        return parse_time_limit(self.time_limit)

    @property
    def places(self) -> float:
        """How many stages run side by side: unlimited, because the queue decides and its length is not known here."""
        return math.inf

    @property
    def has_gpus(self) -> bool:
        return self.gpus_per_node > 0

    @property
    def longest_attempt_s(self) -> float:
        """How long a stage works before it must be requeued."""
        return self.time_limit_minutes * 60.0 - self.stop_notice_s

    @property
    def ranks_per_node(self) -> int:
        """Processes of each stage that trains, on each of its nodes."""
        return self.gpus_per_node or self.processes_per_node

    @property
    def ranks_per_stage(self) -> int:
        """Processes of each stage that trains."""
        return self.nodes * self.ranks_per_node


Cluster = LocalCluster | SlurmCluster
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
