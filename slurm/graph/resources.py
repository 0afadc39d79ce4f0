"""What a stage asks Slurm for, stated in parts: the cluster file's defaults, a named profile, the stage's own words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from benchmarks.config import Config, validate
from benchmarks.errors import UserError
from benchmarks.training.numbers import Count

START_S = 20.0
"""What a start takes at the least: the imports, the meeting of the ranks, a first step."""

_MINUTES = {"d": 24 * 60, "h": 60, "m": 1}
_UNITS = re.compile(r"(?:\d+[dhm])+")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d{2}):(\d{2})")
_MEMORY = re.compile(r"(\d+)([MGT])B?")
_MOUNT = re.compile(r"/[^:,]*:/[^:,]*(?::r[ow])?")
_MEBIBYTES = {"M": 1, "G": 1024, "T": 1024**2}


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


def parse_memory(text: str) -> int:
    """Return a size in the mebibytes in which Slurm counts it. Raises ValueError where it has no unit."""
    if (found := _MEMORY.fullmatch(text)) is None:
        raise ValueError("a size with its unit: 64GB, 500MB")
    return int(found.group(1)) * _MEBIBYTES[found.group(2)]


def _time_limit(value: object) -> str:
    text = str(value)  # YAML makes a number of `72` and of an unquoted `72:00:00`
    parse_time_limit(text)
    return text


def _memory(value: object) -> str | None:
    if value is None:
        return None
    parse_memory(str(value))
    return str(value)


OWN_OPTIONS = {
    **dict.fromkeys(("nodes", "partition", "account", "qos", "constraint"), "the field of the same name"),
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task"), "the field `gpus_per_node`"),
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu"), "the field `cpus_per_process`"),
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), "the field `memory`"),
    "time": "the field `time_limit`",
    "signal": "the field `stop_notice_s`",
    "array": "`seeds` of the pipeline file, and `array_size` of the cluster file",
    **dict.fromkeys(
        ("ntasks", "ntasks-per-node"), "`processes_per_node` or `gpus_per_node`; a stage has one task on each node"
    ),
    **dict.fromkeys(
        ("output", "error", "open-mode"), "`mimbench pipeline logs` shows the logs, which it finds by their names"
    ),
    "job-name": "the pipeline's `name`; jobs are known again by theirs",
    **dict.fromkeys(("chdir", "wrap", "wait", "test-only"), "`setup` runs commands before a stage"),
    "kill-on-invalid-dep": "nothing; a job whose parents failed would wait for ever",
}
"""Options of sbatch that this program sets, and where a person says what they should be."""
MERGED_OPTIONS = ("comment", "dependency")
"""Options of which a person and this program each have a part."""


def _require_other_options(options: Mapping[str, str | int | bool]) -> None:
    """Refuse what is ours, abbreviated too: sbatch takes the beginning of an option's name for the option."""
    for given, value in options.items():
        option = given.replace("_", "-")
        own = next((name for name in OWN_OPTIONS if name == option or (option and name.startswith(option))), None)
        if own is not None:
            rule = f"an option that mimbench does not set itself, as it does --{own}"
            raise UserError.about(f"sbatch.{given}", value, rule, f"remove it; instead: {OWN_OPTIONS[own]}")
        if any(name.startswith(option) and name != given for name in MERGED_OPTIONS):
            raise UserError.about(
                f"sbatch.{given}", value, "an option's full name", f"write {' or '.join(MERGED_OPTIONS)}"
            )
    if "?" in (waits_for := str(options.get("dependency", ""))):
        rule = "conditions joined by commas: a stage's own are added to them, and all must hold"
        raise UserError.about("sbatch.dependency", waits_for, rule, "afterok:17,afterany:18")


# Names become parts of file names, of job names and of `a.b=c` overrides.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
NotNegative = Annotated[int, Field(ge=0)]
TimeLimit = Annotated[str, BeforeValidator(_time_limit)]
Memory = Annotated[str | None, BeforeValidator(_memory)]
Options = dict[str, str | int | bool]


def count_of_ranks(count: int, has_gpus: bool) -> str:
    """Return `8 GPUs`, `1 process` and the like."""
    one, several = ("GPU", "GPUs") if has_gpus else ("process", "processes")
    return f"{count} {one if count == 1 else several}"


class Resources(Config):
    """A part of what a stage asks for. What is null is left to the part below it; an empty text asks for nothing."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    """Features that nodes must have, in Slurm's syntax: `a100|h100`."""
    nodes: Count | None = None
    """Nodes of each stage that trains; a report runs on one."""
    gpus_per_node: NotNegative | None = None
    """GPUs of each stage on each node; a stage has one process for each."""
    processes_per_node: Count | None = None
    """Processes of each stage on each node, where gpus_per_node is 0."""
    cpus_per_process: Count | None = None
    memory: Memory = None
    """Per node, with its unit: `64GB`."""
    time_limit: Annotated[str | None, BeforeValidator(lambda value: value and _time_limit(value))] = None
    """Per stage, with its unit: `72h`, `90m`, `3-00:00:00`. Quote it: plain YAML reads 72:00:00 as a number."""
    stop_notice_s: Annotated[int, Field(ge=30)] | None = None
    """Seconds before the time limit at which Slurm asks a stage (SIGUSR2) to save and stop."""
    fruitless_restarts: NotNegative | None = None
    """How often in a row a job is requeued though its last start left no new checkpoint. A stage that crashed, lost
    its node or reached the time limit is always requeued where it did leave one."""
    setup: tuple[str, ...] | None = None
    """Shell commands run on the node before the stage: `module load cuda`."""
    container: str | None = None
    """Image in which stages run: a file, or what the runtime can fetch, `docker://...`."""
    container_runtime: Literal["pyxis", "apptainer", "singularity"] | None = None
    """What opens the image: an srun that has the option --container-image (pyxis), or a command on the nodes."""
    container_mounts: tuple[str, ...] | None = None
    """Folders of the node that the image sees, `FROM:TO` or `FROM:TO:ro`; the working directory must be among them."""
    python: str | None = None
    """Interpreter that runs the stages, where it is not the one that submits them: the container's, for example."""
    stage_data: dict[str, str] | None = None
    """Data folders that are copied to each node once, and read from there: `{/data/imagenet: /local/imagenet}`."""
    sbatch: Options | None = None
    """Any other sbatch option, without its dashes: `{exclude: node7, requeue: true}`."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_given: Any) -> None:
        """Let fields that a subclass only gives a default keep their meaning, for the messages about them."""
        for name, field in cls.model_fields.items():
            if field.description is None and name in Resources.model_fields:
                field.description = Resources.model_fields[name].description


class StageResources(Resources):
    """What an entry of a pipeline file asks for, above the cluster file's defaults."""

    profile: str | None = None
    """One of the cluster file's `profiles`, which this entry's other fields change."""
    prefer: str | None = None
    """A profile that is taken where the cluster file has it; where it has not, its defaults hold."""

    @model_validator(mode="after")
    def _one_profile(self) -> StageResources:
        if self.profile is not None and self.prefer is not None:
            raise ValueError("one of `profile` and `prefer`")
        return self


def _profile_by_its_name(value: object) -> object:
    return {"profile": value} if isinstance(value, str) else value


Asked = Annotated[StageResources, BeforeValidator(_profile_by_its_name)]
"""`big`, or `{profile: big, nodes: 2}`, or fields alone."""


class Allocation(Resources):
    """All that a stage asks for: its batch script is made from this alone."""

    nodes: Count = 1
    gpus_per_node: NotNegative = 1
    processes_per_node: Count = 1
    cpus_per_process: Count = 8
    time_limit: TimeLimit
    stop_notice_s: Annotated[int, Field(ge=30)] = 120
    fruitless_restarts: NotNegative = 2
    setup: tuple[str, ...] = ()
    container_runtime: Literal["pyxis", "apptainer", "singularity"] = "pyxis"
    container_mounts: tuple[str, ...] = ()
    stage_data: dict[str, str] = Field(default_factory=dict)
    sbatch: Options = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Allocation:
        if self.gpus_per_node and self.processes_per_node > 1:
            raise ValueError("processes_per_node only with `gpus_per_node: 0`: a stage has one process per GPU")
        if self.container_mounts and not self.container:
            raise ValueError("container_mounts only with `container`")
        if self.container_runtime != "pyxis":
            self._require_an_image_and_its_mounts()
        if self.longest_attempt_s <= START_S:
            least = f"stop_notice_s ({self.stop_notice_s} s) and the {START_S:.0f} s of a start"
            rule = f"longer than {least}: a stage would be asked to stop before its first step"
            raise UserError.about(
                "time_limit", self.time_limit, rule, "a longer time_limit, or a shorter stop_notice_s"
            )
        _require_other_options(self.sbatch)
        return self

    def _require_an_image_and_its_mounts(self) -> None:
        """Find on the login node what would end every stage on its node."""
        if not self.container:
            rule = "left out where there is no `container`"
            raise UserError.about(
                "container_runtime", self.container_runtime, rule, "name the image: container: FILE.sif"
            )
        if wrong := [mount for mount in self.container_mounts if not _MOUNT.fullmatch(mount)]:
            rule = "absolute folders of node and image, FROM:TO or FROM:TO:ro, without commas"
            raise UserError.about("container_mounts", wrong[0], rule, "/data:/data")

    @property
    def time_limit_minutes(self) -> int:
        return parse_time_limit(self.time_limit)

    @property
    def has_gpus(self) -> bool:
        return self.gpus_per_node > 0

    @property
    def longest_attempt_s(self) -> float:
        """How long a stage works before it must be requeued."""
        return self.time_limit_minutes * 60.0 - self.stop_notice_s

    @property
    def ranks_per_node(self) -> int:
        return self.gpus_per_node or self.processes_per_node

    @property
    def ranks_per_stage(self) -> int:
        return self.nodes * self.ranks_per_node

    @property
    def cpus_per_node(self) -> int:
        return self.cpus_per_process * self.ranks_per_node

    def summary(self) -> str:
        """Return partition, sizes and time limit in a few words: `gpu: 4 x 8 GPUs, 72h`."""
        where = f"{self.partition}: " if self.partition else ""
        nodes = f"{self.nodes} x " if self.nodes > 1 else ""
        return f"{where}{nodes}{count_of_ranks(self.ranks_per_node, self.has_gpus)}, {self.time_limit}"


def merged(base: Allocation, parts: Iterable[Resources], where: str) -> Allocation:
    """Return `base` with what each of the parts states, the last above all; mappings are joined key by key.

    A part that states GPUs and no processes undoes the processes of the parts below it. Raises UserError, which names
    `where`, for fields that do not go together.
    """
    found: dict[str, Any] = {name: getattr(base, name) for name in Resources.model_fields}
    for part in parts:
        if part.gpus_per_node and part.processes_per_node is None:
            found["processes_per_node"] = 1
        for name in Resources.model_fields:
            if (value := getattr(part, name)) is not None:
                found[name] = {**(found[name] or {}), **value} if isinstance(value, dict) else value
    return validate(Allocation, {name: value for name, value in found.items() if value is not None}, where)
