"""What a task is: what is measured, on what, in which unit, and by which recipes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmarks.catalogue.metrics import Metric
from benchmarks.config import Config
from benchmarks.digits.embedded import provide


class Task(Config):
    """What is measured. A changed protocol gets a new version; results of two versions are never compared."""

    name: str
    version: int
    kind: Literal["classification", "correspondence", "depth", "detection", "multilabel", "segmentation", "video"]
    dataset: str
    num_classes: int | None
    """None: as many as the data set has."""
    metrics: tuple[Metric, ...]
    primary_metric: str
    recipe: str
    """The transfer recipe used when none is named, unless `from_scratch` has one for what starts."""
    from_scratch: dict[str, str] = Field(default_factory=dict)
    """By backbone: the recipe used when none is named and the encoder has random weights."""
    of_authors: dict[str, str] = Field(default_factory=dict)
    """By method and backbone (`mae ViT-B`): the recipe by which the encoder's authors fine-tune it. It is only named:
    compared encoders are trained by one recipe unless a person chooses otherwise."""
    source: str
    superseded_by: str | None = None
    written_by: str | None = None
    """`module:function` that writes the data set to a folder, for those that this program holds itself; the module's
    MARK and VERSION identify the one that lies there."""

    @property
    def writer(self) -> Callable[[Path], str] | None:
        """What writes an embedded data set to a folder, once and whole, and returns its fingerprint."""
        if self.written_by is None:
            return None
        module, _, name = self.written_by.partition(":")
        found: Callable[[Path], str] = getattr(importlib.import_module(module), name)
        return found

    def provide(self, root: Path) -> None:
        """Write an embedded data set to `root` unless something is there; leave all others to the user.

        Raises UserError for an embedded one of another version.
        """
        if self.written_by is not None and (writer := self.writer) is not None:
            module = importlib.import_module(self.written_by.partition(":")[0])
            provide(root, module.MARK, module.VERSION, writer)

    @property
    def primary(self) -> Metric:
        """The metric that rows are ranked by."""
        return self.metric(self.primary_metric)

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)
