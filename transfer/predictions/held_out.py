"""Classifiers that are trained at once, and how one is chosen by held-out training samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.engine.evaluation import Walk
from benchmarks.errors import WorkFailed
from benchmarks.runs.probes import Choice
from transfer.predictions.evaluation import L

LARGEST_LOGIT = 1e30
"""A classifier with a larger one has diverged; beyond 1e38 a float ends, and with it the sum of all losses."""
HELD_OUT_COLUMNS = ("held_out_top1", "held_out_loss", "note")
"""Of grid.csv, after what distinguishes the members."""


class GridMember(Protocol):
    """One of the classifiers."""

    @property
    def words(self) -> str:
        """Return what it is, in words."""
        ...

    @property
    def cells(self) -> tuple[str, ...]:
        """Return what distinguishes it, for the first columns of grid.csv."""
        ...


def bounded(logits: Tensor) -> Tensor:
    """Return logits [B, C] as they are, or zeros where they have diverged: then nothing flows back to the classifier.

    Without this one classifier with too high a rate would make the loss that all share infinite, and stop the run.
    """
    usable = logits.detach().abs().amax() < LARGEST_LOGIT  # False for NaN too
    return logits.where(usable, logits.new_zeros(()))


def measured(
    members: Sequence[GridMember], walk: Walk[L], predict: Callable[[L], Sequence[Tensor]], noun: str = "images"
) -> HeldOut:
    """Return how every member does on the samples of a walk; `predict` gives each one's logits [B, C] of a batch.

    Raises WorkFailed where all have diverged.
    """

    def columns_of(batch: L) -> tuple[Tensor, Tensor]:
        every = predict(batch)
        hits = [logits.argmax(dim=1) == batch.labels for logits in every]
        losses = [cross_entropy(logits, batch.labels, reduction="none") for logits in every]
        return torch.stack(hits, dim=1).double().cpu(), torch.stack(losses, dim=1).double().cpu()

    hits, losses = (torch.cat(column) for column in zip(*walk.results(columns_of), strict=True))
    # Sums of whole numbers, and of losses in a fixed order: the same choice for any number of processes.
    top1, loss = 100 * hits.mean(dim=0), losses.sort(dim=0).values.mean(dim=0)
    found = HeldOut(members, top1.tolist(), loss.tolist(), len(hits), noun)
    found.require_finite()
    return found


@dataclass(frozen=True)
class HeldOut:
    """Every member's scores on the held-out samples, and which of them was chosen."""

    members: Sequence[GridMember]
    top1: Sequence[float]
    losses: Sequence[float]
    """Mean cross-entropies in nats; of a member that diverged not finite."""
    images: int
    noun: str = "images"
    """What the samples are."""

    @cached_property
    def chosen(self) -> int:
        """The position of the best member: of the best top-1, of those the lowest loss, of those the first."""
        return min(self._finite, key=lambda at: (-self.top1[at], self.losses[at], at))

    def require_finite(self) -> None:
        """Raise WorkFailed where no member can be chosen."""
        if not self._finite:
            raise WorkFailed(
                f"all {len(self.members)} classifiers of the grid have diverged\n  remedy: lower grid.learning_rates"
            )

    @cached_property
    def _finite(self) -> list[int]:
        return [at for at, loss in enumerate(self.losses) if math.isfinite(loss)]

    @property
    def why(self) -> str:
        """Why the chosen member was chosen."""
        same = sum(self.top1[at] == self.top1[self.chosen] for at in self._finite)
        best = f"best top-1 of {len(self.members)} on {self.images} held-out training {self.noun}"
        return best if same == 1 else f"{best}, lowest loss of the {same} that reach it"

    def as_record(self) -> Choice:
        """Return what the run's record says of the choice."""
        at = self.chosen
        return Choice(
            member=self.members[at].words,
            members=len(self.members),
            held_out_images=self.images,
            held_out_top1=self.top1[at],
            held_out_loss=self.losses[at],
            why=self.why,
        )

    def rows(self) -> list[tuple[object, ...]]:
        """Return one row for each member: its cells, and those of HELD_OUT_COLUMNS."""
        found: list[tuple[object, ...]] = []
        for at, member in enumerate(self.members):
            finite = math.isfinite(self.losses[at])
            note = f"chosen: {self.why}" if at == self.chosen else "" if finite else "diverged"
            scores = (f"{self.top1[at]:.4f}", f"{self.losses[at]:.6f}") if finite else ("", "")
            found.append((*member.cells, *scores, note))
        return found
