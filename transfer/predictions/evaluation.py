"""Running a classifier of images or of videos over a test set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.engine.evaluation import Walk
from benchmarks.engine.samples.loaders import AnyBatch

RANKED = 5
"""How many best classes are kept of each layer's classifier."""


class LabelledBatch(AnyBatch, Protocol):
    """A test batch with classes."""

    @property
    def positions(self) -> Tensor:
        """Return the positions [B] of its samples in the list of files."""
        ...

    @property
    def labels(self) -> Tensor:
        """Return the samples' classes [B] int64."""
        ...


L = TypeVar("L", bound=LabelledBatch)


class Predictions(NamedTuple):
    """Logits [B, C] of a batch and, where several layers have a classifier, each one's five best classes [B, L, 5]."""

    logits: Tensor
    layers: Tensor | None = None


@dataclass(frozen=True)
class Evaluation:
    """Logits [N, C] fp32 and labels [N] over the readable test files, at `positions` [N] of the file list."""

    logits: Tensor
    labels: Tensor
    positions: Tensor
    layers: Tensor | None = None
    """The five best classes of every layer's classifier [N, L, 5]; None where there is one classifier."""

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats."""
        return functional.cross_entropy(self.logits, self.labels).item()

    @property
    def predicted(self) -> Tensor:
        """The most likely class of each file [N]."""
        return self.logits.argmax(dim=1)


def evaluate(predict: Callable[[L], Predictions], walk: Walk[L]) -> Evaluation:
    """Predict every batch of the walk; return, on every rank, the whole evaluation in the order of the file list."""

    def columns_of(batch: L) -> list[Tensor]:
        found = predict(batch)
        layers = [] if found.layers is None else [found.layers.cpu()]
        return [batch.positions.cpu(), batch.labels.cpu(), found.logits.float().cpu(), *layers]

    columns = [torch.cat(column) for column in zip(*walk.results(columns_of), strict=True)]
    order = columns[0].argsort()
    positions, labels, logits, *layers = (column[order] for column in columns)
    return Evaluation(logits, labels, positions, layers[0] if layers else None)
