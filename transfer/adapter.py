"""The adapters, one for each kind of task, which find its data and run it; a new kind is one more line in the table."""

from __future__ import annotations

import importlib
from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.catalogue.tasks import Task
from benchmarks.config import Config, Family
from benchmarks.errors import UserError
from benchmarks.runs.command import Work
from benchmarks.runs.fingerprint import Fingerprint
from benchmarks.runs.record import LoadReport, RunRecord
from transfer.sources.source import Source


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

    def problem(self, recipe: Any) -> type[Any] | None:
        """Return the `TransferProblem` that the recipe trains; None where it trains nothing. Imports the engine."""
        ...

    def run(self, transfer: Transfer) -> RunRecord:
        """Train, evaluate and export; return the completed record."""
        ...


ADAPTERS = {
    "classification": "transfer.classification.adapter:ClassificationAdapter",
    "detection": "transfer.detection.adapter:DetectionAdapter",
    "segmentation": "transfer.segmentation.adapter:SegmentationAdapter",
    "video": "transfer.video.adapter:VideoAdapter",
}


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
