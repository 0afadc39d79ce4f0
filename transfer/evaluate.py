"""Scores of a classifier on a test set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.engine.device import autocast
from benchmarks.engine.distributed import gathered
from benchmarks.engine.images import Batch
from benchmarks.errors import WorkFailed
from benchmarks.training import Training


@dataclass(frozen=True)
class Evaluation:
    """Logits [N, classes] fp32 and labels [N] over the readable test images, at `positions` [N] of the file list."""

    logits: Tensor
    labels: Tensor
    positions: Tensor
    unreadable: list[str]

    def metrics(self) -> dict[str, float]:
        """Return top1 and top5 in percent, and the mean cross-entropy (nats)."""
        ranked = self.logits.topk(min(5, self.logits.shape[1]), dim=1).indices
        hits = ranked == self.labels.unsqueeze(1)
        return {
            "top1": 100 * hits[:, 0].double().mean().item(),
            "top5": 100 * hits.any(dim=1).double().mean().item(),
            "eval_loss": functional.cross_entropy(self.logits, self.labels).item(),
        }

    @property
    def predicted(self) -> Tensor:
        """Most likely class [N]."""
        return self.logits.argmax(dim=1)


@torch.inference_mode()
def evaluate(model: nn.Module, loader: DataLoader[Batch], device: torch.device, training: Training) -> Evaluation:
    """Run the model over every rank's loader in evaluation mode; the model is left in that mode.

    Every rank returns the whole evaluation, in the order of the file list.
    """
    model.eval()
    batches: list[tuple[Tensor, Tensor, Tensor]] = []
    unreadable: list[str] = []
    for batch in loader:
        unreadable += batch.unreadable
        if len(batch.labels) == 0:
            continue
        with autocast(device, training):
            logits = model(batch.images.to(device, non_blocking=True))
        batches.append((logits.float().cpu(), batch.labels, batch.positions))
    parts = gathered((batches, unreadable))
    unreadable = [text for _, texts in parts for text in texts]
    batches = [batch for found, _ in parts for batch in found]
    if not batches:
        raise WorkFailed("no test image could be read:\n    " + "\n    ".join(unreadable[:20]))
    logits, labels, positions = (torch.cat(column) for column in zip(*batches, strict=True))
    order = positions.argsort()
    return Evaluation(logits[order], labels[order], positions[order], unreadable)
