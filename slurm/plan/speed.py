"""How fast a training is, and what it leaves on disk: measured by an earlier run, or stated; never guessed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError, printable
from benchmarks.runs.bench_record import BenchRecord
from benchmarks.runs.folder import RECORD, completed
from benchmarks.runs.record import RunRecord
from slurm.graph.cluster import Cluster

WITHOUT_INFLUENCE = (
    *("data", "masking", "layer_decay", "training"),
    *("starts_from", "interpolation", "decay_everything", "activation_checkpointing"),
)
"""Fields of a recipe that do not change how fast an image is trained; some of `training` do."""
DECISIVE = ("precision", "sharded", "activation_checkpointing", "compile", "fast_step")
"""Fields of `training` that change the speed or the memory; a record of before a field was there did without it."""


@dataclass(frozen=True)
class Training:
    """What decides a stage's speed."""

    kind: str
    """`pretrain`, or the task of a transfer."""
    recipe: Any
    recipe_name: str
    encoder: str | Architecture | None
    """Of a transfer: its encoder's architecture, or, where only timm or its file knows that, its `ref`."""
    processes: int

    @property
    def subset(self) -> dict[str, Any] | None:
        """The part of the training images that the recipe asks for; None: all of them."""
        found = getattr(self.recipe.data, "subset", None)
        return None if found is None else found.model_dump(mode="json")

    def drawn(self, images: int) -> int | None:
        """Return how many of a data set's images the recipe trains on; None for a part that only the data can count."""
        share = 1.0 if self.subset is None else self.subset.get("fraction")
        return None if share is None else round(share * images)

    def images(self, per_epoch: int | None) -> int | None:
        """Return how many images the whole training takes; None where its length is in epochs of unknown size."""
        training = self.recipe.training
        if training.steps is not None:
            return int(training.steps * training.batch_size)
        if per_epoch is None:
            return None
        return int(training.total_steps(per_epoch // training.batch_size) * training.batch_size)


@dataclass(frozen=True)
class Measured:
    """A finished run on disk."""

    folder: Path
    record: RunRecord

    @property
    def kind(self) -> str:
        return "pretrain" if self.record.task is None else self.record.task.name

    def trained_with(self, field: str) -> int | None:
        """Return a whole number of the recipe's section `training`; None where the record tells none."""
        training = self.record.recipe.resolved.get("training")
        value = training.get(field) if isinstance(training, dict) else None
        return value if isinstance(value, int) and 0 < value < 2**53 else None

    @property
    def subset(self) -> Any:
        """The part of the training images that its recipe asked for; None: all of them."""
        data = self.record.recipe.resolved.get("data")
        return data.get("subset") if isinstance(data, dict) else None

    def disk_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Speed:
    """Images per second of one process, and the source of that figure."""

    images_per_second: float
    source: str
    measured: Measured | None = None
    largest_share: float | None = None
    """The most images that a process has had at once in such runs; None where none was measured."""


def finished_runs(runs: Path) -> list[Measured]:
    """Return the completed runs below `runs`, the newest first."""
    found = [Measured(path.parent, record) for path in runs.glob(f"*/{RECORD}") if (record := completed(path.parent))]
    return sorted(found, key=lambda run: run.record.finished_at or "", reverse=True)


def find_speed(
    training: Training, cluster: Cluster, runs: Sequence[Measured], benches: Sequence[BenchRecord] = ()
) -> Speed | None:
    """Return the speed that the cluster file states, or else what the newest run of the same work measured, or what
    `mimbench bench` measured, or None.

    Runs on as many processes come before others.
    """
    alike = [run for run in runs if _same_work(training, run) and _same_device(cluster, run.record)]
    alike = [run for run in alike if run.record.images_per_second]
    run = next((run for run in alike if run.record.processes == training.processes), alike[0] if alike else None)
    stated = cluster.images_per_second.get(training.recipe_name)
    if stated is not None:
        return Speed(stated, "stated in the cluster file", run, max(map(_share, alike), default=None))
    if run is None:
        return _benched(training, cluster, benches)
    source = printable(f"measured by {run.folder.name} on {run.record.environment.device}")
    rate = run.record.images_per_second or 0.0
    return Speed(rate / run.record.processes, source, run, max(map(_share, alike)))


def _benched(training: Training, cluster: Cluster, benches: Sequence[BenchRecord]) -> Speed | None:
    """Return the speed of whole steps of the same work, without loading and evaluation."""
    if training.kind != "pretrain":
        return None
    ours, device = _essence(training.recipe.model_dump(mode="json")), (cluster.device or "").lower()
    for bench in benches:
        if (
            bench.part != "step"
            or device not in bench.environment.device.lower()
            or bench.is_of_cpu is cluster.has_gpus
        ):
            continue
        if ours == _essence(bench.recipe.resolved):
            return Speed(bench.programs[0].per_second, f"measured by `mimbench bench` of {bench.title}")
    return None


def _share(run: Measured) -> float:
    """Return how many images of a batch each process had at once."""
    training: Any = run.record.recipe.resolved["training"]
    return float(training["batch_size"] / training.get("accumulate", 1) / run.record.processes)


def images_per_epoch(training: Training, runs: Sequence[Measured]) -> int | None:
    """Return how many images an epoch had in an earlier run with the same data folder; else count the image files.

    None where the data is no folder of images, or a subset that is no fraction: then only a run can measure it.
    """
    from benchmarks.data.found import files_below

    for run in runs:
        epochs, batch_size = (run.trained_with(name) for name in ("epochs", "batch_size"))
        same = run.kind == training.kind and run.record.data.root == training.recipe.data.root
        same = same and run.subset == training.subset
        if same and epochs and batch_size:
            return int(run.record.steps * batch_size / epochs)
    data = training.recipe.data
    split = getattr(data, "split", None) or getattr(data, "train_split", None)
    if isinstance(split, str) and training.drawn(1) is not None:
        with contextlib.suppress(UserError):
            return training.drawn(len(files_below(Path(data.root) / split)))
    return None


def _same_work(training: Training, run: Measured) -> bool:
    use = run.record.encoder
    same_encoder = use is None or training.encoder in (None, use.architecture, use.reference)
    ours = _essence(training.recipe.model_dump(mode="json"))
    return training.kind == run.kind and same_encoder and ours == _essence(run.record.recipe.resolved)


def _essence(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a recipe's values that decide how fast an image is trained."""
    training = values.get("training")
    ways = {name: training.get(name) or None for name in DECISIVE} if isinstance(training, dict) else {}
    return {**ways, **{name: value for name, value in values.items() if name not in WITHOUT_INFLUENCE}}


def _same_device(cluster: Cluster, record: RunRecord) -> bool:
    return cluster.device is None or cluster.device.lower() in record.environment.device.lower()
