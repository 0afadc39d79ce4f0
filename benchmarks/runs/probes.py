"""What the record of a probe says beside its scores: what was chosen, drawn, and computed once."""

from __future__ import annotations

import statistics

from benchmarks.config import Config, Count


class Choice(Config):
    """The classifier of a probe's grid whose score is the run's; it was chosen on held-out training images."""

    member: str
    """What distinguishes it, in words: its layers, pooling and learning rate, or its number of neighbours."""
    members: Count
    """The number of classifiers that it was chosen from."""
    held_out_images: Count
    held_out_top1: float | None = None
    """In percent, as is mIoU; each is null where the choice was made by another score."""
    held_out_mIoU: float | None = None  # noqa: N815 (its name everywhere)
    held_out_loss: float | None = None
    why: str


class Draws(Config):
    """The scores of a protocol that draws few training images several times."""

    per_class: Count
    """How many images of each class are drawn."""
    top1: tuple[float, ...]
    """Of every draw, in percent; the run's score is their mean."""

    @property
    def spread(self) -> float | None:
        """The standard deviation over draws; None of a single one."""
        return statistics.stdev(self.top1) if len(self.top1) > 1 else None


class FeatureUse(Config):
    """How a run came by the features of its images, which a frozen encoder gives once for all protocols and seeds."""

    computed: Count = 0
    """Images that were run through the encoder."""
    reused: Count = 0
    """Images whose features an earlier run, or this run's earlier attempt, had left."""
