"""The adapters, one for each kind of task, which find its data and run it; a new kind is one more line in the table."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from benchmarks.catalogue.task import Task
from benchmarks.config import Config, Family
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.errors import UserError
from benchmarks.runs.record import LoadReport, RunRecord
from benchmarks.verbs.command import Work
from benchmarks.verbs.statement import EncoderStatement
from transfer.sources.source import Source, Whole


class Data(Protocol):
    """A data set that an adapter found on disk."""

    @property
    def root(self) -> Path: ...
    @property
    def test(self) -> Sized:
        """Return the test samples."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their numbers."""
        ...

    @property
    def fingerprint(self) -> Fingerprint: ...


@dataclass(frozen=True)
class Transfer:
    """One transfer to run: which encoder, on which task, with which recipe and data."""

    task: Task
    source: Source
    work: Work[Any]
    data: Any
    """The return value of the same adapter's `find_data`."""


@dataclass(frozen=True)
class Asked:
    """A model of others, with its head, as a person names it."""

    reference: str
    said: EncoderStatement = EncoderStatement()
    config: Path | None = None
    """The config file of the library that it was trained with."""
    label: str | None = None
    head_classes: str | None = None
    """A list of what its logits stand for, by name or as a file."""

    def require_left_out(
        self, *options: Literal["config", "architecture", "head_classes", "weights", "prefix"]
    ) -> None:
        """Raise UserError for an option that has no part in models of this kind."""
        given = {**vars(self), **self.said.options}
        for name in options:
            if (value := given.get(name)) is not None:
                of = "of mmsegmentation and detectron2" if name == "config" else "that classify images"
                raise UserError.about(f"--{name.replace('_', '-')}", str(value), f"for models {of}", "leave it out")


@dataclass(frozen=True)
class Trained:
    """A model of others as it was found, and what it states of how it is tested."""

    source: Whole
    recipe: str
    """The recipe of kind `evaluate` that is taken for a task that has none of its own."""
    stated: tuple[str, ...]
    """Overrides of that recipe: how test images are made, and what else the model itself states."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Its published scores in percent, by the metric's name, where the same place states them."""
    stated_by: str = ""


class Adapter(Protocol):
    """A kind of task. The adapter's module is light to import; `run` imports the engine."""

    recipe: type[Config] | Family[Config]
    config_field: str | None
    """The recipe's field that `--config` sets: a config file of the engine this kind is built on."""

    def missing_requirements(self) -> list[str]:
        """Return, in words, what must be installed first; empty when everything is there."""
        ...

    def find_data(self, task: Task, recipe: Any) -> Data:
        """Find and check the data set. Raises UserError when it is missing or unfit."""
        ...

    def test_set_alone(self, recipe: Any) -> Any:
        """Return the recipe with its test set in the place of the training set, which a further test set lacks.

        It is the recipe itself where further test sets are fields of the recipe (`data.test_sets`).
        """
        ...

    def would_load(self, recipe: Any, source: Source) -> LoadReport:
        """Return what a run of the recipe would load of an encoder, built on the meta device: without values or memory.

        Raises the UserErrors by which a run would refuse the encoder before its training. Imports the engine.
        """
        ...

    def trained(self, asked: Asked) -> Trained:
        """Read a model of others with its head. Raises UserError for what is none of this kind of task."""
        ...

    def problem(self, recipe: Any) -> type[Any] | None:
        """Return the `TransferProblem` that the recipe trains; None where it trains nothing. Imports the engine."""
        ...

    def run(self, transfer: Transfer) -> RunRecord:
        """Train, evaluate and export; return the completed record."""
        ...


ADAPTERS = {
    "classification": "transfer.classification.adapter:ClassificationAdapter",
    "correspondence": "transfer.correspondence.adapter:CorrespondenceAdapter",
    "depth": "transfer.depth.adapter:DepthAdapter",
    "detection": "transfer.detection.adapter:DetectionAdapter",
    "multilabel": "transfer.multilabel.adapter:MultilabelAdapter",
    "segmentation": "transfer.segmentation.adapter:SegmentationAdapter",
    "video": "transfer.video.adapter:VideoAdapter",
}

ENGINES = {
    "classification": "transfer.classification.finetune",
    "correspondence": "transfer.correspondence.nearest",
    "depth": "transfer.depth.train",
    "detection": "transfer.detection.train",
    "multilabel": "transfer.multilabel.svm",
    "segmentation": "transfer.segmentation.train",
    "video": "transfer.video.train",
}
"""What most transfers of a kind import once there is work: torch, and what the kind's models are built on."""


def adapter_for(task: Task) -> Adapter:
    """Return the adapter of the task's kind. Raises UserError when its requirements are not installed."""
    adapter = _adapter(task)
    if missing := adapter.missing_requirements():
        raise UserError.about("task", task.name, f"needs {'; '.join(missing)}", "`mimbench doctor` says how")
    return adapter


def missing_requirements(task: Task) -> list[str]:
    """Return, in words, what must be installed before the task can run; empty when everything is there."""
    return _adapter(task).missing_requirements()


def _adapter(task: Task) -> Adapter:
    module, _, name = ADAPTERS[task.kind].partition(":")
    adapter: Adapter = getattr(importlib.import_module(module), name)()
    return adapter
