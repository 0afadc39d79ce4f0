"""Rungs: shares of the training at which the pretrainings of a sweep are compared, and which of them go on.

This is successive halving (Jamieson and Talwalkar, arXiv:1502.07943; Li et al., arXiv:1603.06560): of those that come
to a rung, the ones with the lowest held-out losses go on.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from benchmarks.config import Config
from benchmarks.errors import WorkFailed
from benchmarks.runs.folder import RunFolder, read_record
from benchmarks.runs.metrics_log import read_evaluations
from benchmarks.runs.record import RunRecord

MASKED_LOSS = "masked_loss"
"""The name, in logs and records, of a pretraining's loss on held-out images."""
NO_PART_OF_A_LOSS = ("encoder", "drop_path_rate", "training", "data", "export_epochs")
"""Parts of a pretraining recipe that may differ between losses that are measured alike; of `data`, see below."""
NORMALISATION = ("mean", "std")
"""Fields of a recipe's `data` that scale the pixels, and so the loss on them."""
ROUNDING = 1e-6
"""Epochs and steps are logged with nine digits."""


@dataclass(frozen=True)
class HeldOut:
    """A loss on held-out images and when it was measured."""

    step: int
    epoch: float
    loss: float
    """May be NaN or infinite."""


class Member(Config):
    """One pretraining at a rung."""

    name: str
    run: str | None
    """Its run id; None where it left no run."""
    epoch: float | None = None
    held_out_loss: float | None = None
    """None where it has none, or one that is not finite."""
    outcome: Literal["kept", "pruned", "failed"]
    """`failed`: it did not come to the rung, so there is nothing to compare."""
    why: str


class Decision(Config):
    """What a rung decided of those that were kept before."""

    schema_version: Literal[1] = 1
    share: float = Field(gt=0, lt=1)
    keep: float = Field(gt=0, lt=1)
    members: tuple[Member, ...]

    def find(self, name: str) -> Member | None:
        return next((member for member in self.members if member.name == name), None)


def kept_count(members: int, keep: float) -> int:
    """Return how many of so many members go on: the share `keep`, to the nearest whole number, and at least one."""
    return max(1, math.floor(keep * members + 0.5))


def first_evaluation(share: float, total: int, every: int) -> int:
    """Return the first multiple of `every` at or after a share of `total`, both in epochs or both in steps."""
    return math.ceil(Fraction(str(share)) * total / every) * every


def loss_conditions(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two pretraining recipes must share, so that their losses on the same images are on one scale.

    `resolved` is a recipe as its record has it. Encoder, optimisation and augmentation may differ.
    """
    data = resolved.get("data")
    pixels = {name: data.get(name) for name in NORMALISATION} if isinstance(data, dict) else {}
    return {
        **{name: value for name, value in resolved.items() if name not in NO_PART_OF_A_LOSS},
        "normalisation": pixels,
    }


def loss_scale(record: RunRecord) -> dict[str, Any]:
    """Return what the records of two pretrainings must share, so that their held-out losses are on one scale."""
    conditions = loss_conditions(record.recipe.resolved)
    return {**conditions, "image_size_px": record.image_size_px, "data": record.data.fingerprint}


def differing(scales: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names under which some scales have other values than others."""
    values: dict[str, list[Any]] = defaultdict(list)
    for scale in scales:
        for name, value in scale.items():
            if value not in values[name]:
                values[name].append(value)
    return [name for name, found in values.items() if len(found) > 1]


def held_out_at(run: Path, share: float) -> HeldOut | None:
    """Return the first loss on held-out images at or after a share of the training; None before it is saved.

    The rung of a run is one of its own evaluations, so that none is added to it and it trains as it would alone.
    """
    record, folder = read_record(run), RunFolder(run)
    training = record.recipe.resolved.get("training") if record is not None else None
    if record is None or not isinstance(training, dict):
        return None
    unit = "epochs" if training.get("epochs") is not None else "steps"
    total = training.get(unit)
    if not isinstance(total, int):
        return None
    for step, epoch, loss in read_evaluations(folder.metrics, MASKED_LOSS):
        done = epoch if unit == "epochs" else step
        if done >= share * total - ROUNDING:
            return HeldOut(step, epoch, loss) if record.steps >= step else None
    return None


@dataclass(frozen=True)
class Candidate:
    """A pretraining that comes to a rung, or should have."""

    name: str
    record: RunRecord | None
    measured: HeldOut | None


def decide(candidates: Sequence[Candidate], share: float, keep: float) -> Decision:
    """Return which candidates go on: the share `keep` of all, those with the lowest losses; of equals the first named.

    Raises WorkFailed where none has a finite loss.
    """
    count = kept_count(len(candidates), keep)
    measured = {one.name: one.measured.loss for one in candidates if one.measured is not None}
    losses = {name: loss for name, loss in measured.items() if math.isfinite(loss)}
    if not losses:
        what = f"none of {len(candidates)} pretrainings has a finite held-out loss at {share:g} of its training"
        raise WorkFailed(f"{what}: their own logs say why")
    places = {name: place for place, name in enumerate(sorted(losses, key=losses.__getitem__), start=1)}
    members = tuple(_judged(one, places.get(one.name), len(losses), count) for one in candidates)
    return Decision(share=share, keep=keep, members=members)


def _judged(one: Candidate, place: int | None, compared: int, count: int) -> Member:
    run = one.record.run_id if one.record is not None else None
    if one.measured is None:
        said = (one.record.error or "").partition("\n")[0] if one.record is not None else ""
        why = "it has no held-out loss there" + (f": {said}" if said else "")
        return Member(name=one.name, run=run, outcome="failed", why=why)
    epoch = one.measured.epoch
    if place is None:
        why = f"its held-out loss after epoch {epoch:g} is not finite"
        return Member(name=one.name, run=run, epoch=epoch, outcome="pruned", why=why)
    loss = one.measured.loss
    goes_on = "1 goes on" if count == 1 else f"{count} go on"
    why = f"held-out loss {loss:.4g} after epoch {epoch:g} is number {place} of {compared}; {goes_on}"
    outcome: Literal["kept", "pruned"] = "kept" if place <= count else "pruned"
    return Member(name=one.name, run=run, epoch=epoch, held_out_loss=loss, outcome=outcome, why=why)
