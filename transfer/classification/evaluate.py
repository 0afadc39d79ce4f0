"""A classifier run over a test set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.engine.device import Compute, autocast
from benchmarks.engine.processes.exchange import gathered
from benchmarks.engine.samples.images import Batch
from benchmarks.errors import WorkFailed

RANKED = 5


class Predictions(NamedTuple):
    """Logits [B, C] of a batch and, where several layers have a classifier, each one's five best classes [B, L, 5]."""

    logits: Tensor
    layers: Tensor | None = None


@dataclass(frozen=True)
class Evaluation:
    """Logits [N, C] fp32 and labels [N] over the readable test images, at `positions` [N] of the file list."""

    logits: Tensor
    labels: Tensor
    positions: Tensor
    unreadable: list[str]
    layers: Tensor | None = None
    """The five best classes of every layer's classifier [N, L, 5]; None where there is one classifier."""

    @property
    def loss(self) -> float:
        """Mean cross-entropy (nats)."""
        return functional.cross_entropy(self.logits, self.labels).item()

    @property
    def predicted(self) -> Tensor:
        """Most likely class [N]."""
        return self.logits.argmax(dim=1)


@torch.inference_mode()
def evaluate(
    predict: Callable[[Tensor], Predictions], loader: Iterable[Batch], device: torch.device, compute: Compute
) -> Evaluation:
    """Predict every batch of every rank's loader. The model must be in evaluation mode.

    Every rank returns the whole evaluation, in the order of the file list.
    """
    rows: list[list[Tensor]] = []
    unreadable: list[str] = []
    for batch in loader:
        unreadable += batch.unreadable
        if len(batch.labels) == 0:
            continue
        with autocast(device, compute):
            found = predict(batch.images.to(device, non_blocking=True))
        layers = [] if found.layers is None else [found.layers.cpu()]
        rows.append([batch.positions, batch.labels, found.logits.float().cpu(), *layers])
    parts = gathered((rows, unreadable))
    unreadable = [text for _, texts in parts for text in texts]
    rows = [row for found, _ in parts for row in found]
    if not rows:
        raise WorkFailed("nothing of the test set could be read:\n    " + "\n    ".join(unreadable[:20]))
    columns = [torch.cat(column) for column in zip(*rows, strict=True)]
    order = columns[0].argsort()
    positions, labels, logits, *layers = (column[order] for column in columns)
    return Evaluation(logits, labels, positions, unreadable, layers[0] if layers else None)
