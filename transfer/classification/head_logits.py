"""The logits of a test set's classes among those of a classifier's head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.errors import UserError, first_of
from transfer.sources.head_classes import HeadClasses

SHOWN = 5


@dataclass(frozen=True)
class LogitsOf:
    """Takes the logits of a test set's classes out of a head's."""

    positions: tuple[int | None, ...] | None
    """The head's logit of each class; None for a class that the head has not. None: the logits are the classes'."""
    notes: tuple[str, ...] = ()

    def __call__(self, logits: Tensor) -> Tensor:
        """Return logits [B, classes] of a head's [B, C]; a class that the head has not gets minus infinity."""
        if self.positions is None:
            return logits
        index = torch.tensor([0 if at is None else at for at in self.positions], device=logits.device)
        lacking = torch.tensor([at is None for at in self.positions], device=logits.device)
        return logits[:, index].masked_fill(lacking, -torch.inf)


def logits_of(count: int, head: HeadClasses, classes: Sequence[str], where: str) -> LogitsOf:
    """Return how the `classes` of a test set are found among a head's `count` logits.

    By the published index map if there is one, else by name; where the head's names are not known, or say nothing of
    the test set's, there must be as many of both. Raises UserError, before any image is read, where they do not fit.
    """
    if head.positions is not None:
        if len(head.positions) != len(classes):
            value = f"{len(head.positions)} in {head.stated_by}"
            rule = f"a line for each class of the test set ({len(classes)} in {where})"
            raise UserError.about("--head-classes", value, rule, "give the map that ends in these classes")
        return LogitsOf(head.positions, (f"logits are taken by {head.stated_by}",))
    at = {name: position for position, name in enumerate(head.names or ())}
    found = tuple(at.get(name) for name in classes)
    lacking = [name for name, position in zip(classes, found, strict=True) if position is None]
    if found == tuple(range(count)):
        return LogitsOf(None)
    if len(lacking) * 2 < len(classes) and (len(classes) < count or not lacking):
        note = f"{len(classes)} of the head's {count} logits are taken, by the names in {head.stated_by}"
        more = (
            (f"the head has no logit for {first_of(lacking, SHOWN)}: their images count as wrong",) if lacking else ()
        )
        return LogitsOf(found, (note, *more))
    if count == len(classes):
        return LogitsOf(None)
    raise _unlike(count, head, classes, lacking, where)


def _unlike(count: int, head: HeadClasses, classes: Sequence[str], lacking: Sequence[str], where: str) -> UserError:
    rule = f"as many as the test set has ({len(classes)} in {where})"
    if head.names is not None:
        rule += f", or the test set's among them by name ({head.stated_by} has no {first_of(lacking, SHOWN)})"
    remedy = (
        "name the model that was trained on these classes, or say by --head-classes what its logits stand for (a file "
        "with one name per line)"
    )
    return UserError.about("classes of the head", count, rule, remedy)
