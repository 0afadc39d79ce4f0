"""What `mimbench bench` measured, as a file that `pipeline plan` reads. Light to import."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from benchmarks.config import Amount, Config, Count
from benchmarks.errors import printable
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.json_files import read_json_bytes
from benchmarks.runs.record import Environment, RecipeUse

FOLDER = "bench"
BYTES, VALUES = 2**22, 2**17
"""What a file of measurements may have at most."""


Rate = Annotated[float, Field(ge=1e-9, le=1e24)]
"""How much of something a second, of whatever machine."""


class Ratio(Config):
    """How many times as fast the first program is: the median over the rounds of these seconds over the first's."""

    median: Amount
    low: Amount
    high: Amount
    """The span of the rounds' ratios that holds their median with a probability of 95 %; of few rounds, all of it."""


class Timed(Config):
    """One program's rounds."""

    name: str
    seconds: Annotated[tuple[Amount, ...], Field(min_length=1)]
    """Of each round, on the clock."""
    cpu_seconds: tuple[Amount, ...]
    """Of each round, this process's work on the processor: a busy machine changes it least."""
    ratio: Ratio
    cpu_ratio: Ratio
    per_second: Rate
    """Images a second, by the median round."""
    peak_memory_mb: Amount
    base_memory_mb: Amount | None = None
    """The most that its process had used once torch and timm were imported; None: not measured."""
    start_s: Amount
    """Seconds from the start of its process until its model stood."""
    first_step_s: Amount
    """Seconds from the start of its process until its first round was done."""
    ways: tuple[str, ...] = ()
    """The faster ways that its steps took."""
    processes: Annotated[Count, Field(ge=1)] = 1
    """How many processes trained together, each with as many images; memory is that of the one that took most."""
    sharded: bool = False
    """Whether they divided the model (FSDP2) rather than copy it (DDP)."""
    sent_mb: Amount | None = None
    """What each process sends in a step, by arithmetic; None where processes were not compared."""
    parts_s: dict[str, Amount] = Field(default_factory=dict)
    """Of a start, the seconds of its parts by the median; empty where starts were not compared."""

    @property
    def training_memory_mb(self) -> float | None:
        """The peak above what the process had used before: weights, gradients, the optimiser's states, activations."""
        return None if self.base_memory_mb is None else self.peak_memory_mb - self.base_memory_mb


class BenchRecord(Config):
    """Rounds of several programs, one after the other in turn, in one run."""

    schema_version: Literal[1] = 1
    recipe: RecipeUse
    part: Literal["step", "loader", "scale", "start"]
    batch_size: Annotated[Count, Field(ge=1)]
    threads: Count
    environment: Environment
    programs: Annotated[tuple[Timed, ...], Field(min_length=1)]
    """Mimbench's own first."""
    matrix_flops_per_second: Amount | None = None
    """What products of large matrices reach on this device in the recipe's precision; None unless steps were timed."""
    step_flops: Annotated[Amount, Field(ge=1)] | None = None
    """The FLOPs of a step: three forward passes of the batch."""
    measured_at: str

    @model_validator(mode="after")
    def _speeds_follow_from_rounds(self) -> BenchRecord:
        for timed in self.programs:
            images = self.batch_size * timed.processes
            if not math.isclose(timed.per_second * statistics.median(timed.seconds), images, rel_tol=1e-6):
                raise ValueError(f"{timed.name}: images a second by the median round")
        return self

    @property
    def title(self) -> str:
        """What was measured on which device; safe to print."""
        return printable(f"{self.recipe.name} on {self.environment.device}")

    @property
    def utilisation(self) -> float | None:
        """The share of the matrix products' rate that whole steps reach."""
        if self.step_flops is None or not self.matrix_flops_per_second:
            return None
        own = self.programs[0]
        return self.step_flops * own.per_second / self.batch_size / self.matrix_flops_per_second

    @property
    def is_of_cpu(self) -> bool:
        """Whether a CPU was measured."""
        return self.environment.device.startswith("cpu")

    @property
    def resolved(self) -> dict[str, JsonValue]:
        return self.recipe.resolved

    def write(self, runs: Path) -> Path:
        """Write the record below a folder of runs; return its file."""
        time = self.measured_at.replace(":", "").replace("+0000", "Z")
        path = runs / FOLDER / f"{self.part}-{self.recipe.name}-{time}.json"
        make_folder(path.parent)
        write_atomically(path, self.model_dump_json(indent=2).encode())
        return path


def bench_records(runs: Path) -> Iterator[BenchRecord]:
    """Yield what was measured below a folder of runs, the newest first; files that are none are passed over."""
    found = []
    for path in runs.glob(f"{FOLDER}/*.json"):
        with contextlib.suppress(OSError, ValueError, ValidationError):
            found.append(BenchRecord.model_validate_json(read_json_bytes(path, BYTES, VALUES)))
    yield from sorted(found, key=lambda record: record.measured_at, reverse=True)
