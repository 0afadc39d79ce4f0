"""How long trainings take at least on this machine's CPU, by arithmetic: for those that no run has measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.encoders import Architecture
from slurm.plan.speed import Training

PASSES = 3
"""A training step in forward passes: backwards, each matrix is multiplied twice (Kaplan et al. 2020, section 2.1)."""
FROZEN = ("linear", "attentive", "frozen")
"""Protocols whose encoder has no backward pass."""


@dataclass(frozen=True)
class Floor:
    """What some trainings need at least."""

    trainings: int
    """How many were counted; of the others the encoder or the number of images is not known."""
    flops: float
    flops_per_second: float
    """The best that matrix products reach on this machine."""

    @property
    def seconds(self) -> float:
        return self.flops / self.flops_per_second


def floor_of(works: Iterable[tuple[Training, int | None]]) -> Floor | None:
    """Return the least that trainings with so many images need; None where that is known of none of them.

    Only their encoders are counted, on one frame of each clip: heads, data and evaluation come on top.
    """
    from transfer.encoder.flops import encoder_flops  # torch and timm, only where something is to be counted

    known: dict[tuple[str, int], float] = {}
    counted, total = 0, 0.0
    for training, images in works:
        architecture = training.recipe.encoder if training.kind == "pretrain" else training.encoder
        if images is None or not isinstance(architecture, Architecture):
            continue
        key = (architecture.model_dump_json(), training.recipe.image_size_px)
        if key not in known:
            known[key] = encoder_flops(architecture, training.recipe.image_size_px)
        passes = 1 if getattr(training.recipe, "protocol", "finetune") in FROZEN else PASSES
        counted, total = counted + 1, total + passes * images * known[key]
    return Floor(counted, total, best_flops_per_second()) if counted else None


def best_flops_per_second() -> float:
    """Return the FLOPs per second of matrix products on this CPU: the better of float32 and bfloat16."""
    from transfer.encoder.flops import matrix_rates_of_cpu

    return max(matrix_rates_of_cpu())
