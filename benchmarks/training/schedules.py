"""Schedules of learning rates: cosine, poly, multistep. Light to import."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Tag, model_validator

from benchmarks.config import Config, kind_or
from benchmarks.training.numbers import Count, NotNegative, Positive, Share

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler
    from torch.optim import Optimizer


def _tells_something(record: logging.LogRecord) -> bool:
    """Drop timm's warning that the rate of a training of one step does not change."""
    return "will have no effect on the learning rate" not in record.getMessage()


class Cosine(Config):
    """Linear warm-up, then one cosine. Source: microsoft/SimMIM, facebookresearch/mae."""

    rate: ClassVar[str] = "base_lr"
    """The name of the field that messages suggest to lower."""
    kind: Literal["cosine"] = "cosine"
    base_lr: Positive
    """This rate and the two below are per `per_images` images: they are multiplied by the global batch / per_images."""
    warmup_lr: NotNegative
    min_lr: NotNegative
    warmup_epochs: NotNegative
    per_images: Count = 512
    after_warmup: bool = False
    """The cosine begins when the warm-up ends, as MAE's, rather than being entered at its own position."""

    def scaled(self, rate: float, batch_size: int) -> float:
        """Return a rate for a global batch. Source: the linear scaling rule (arXiv:1706.02677)."""
        return rate * batch_size / self.per_images

    def peak_lr(self, batch_size: int) -> float:
        """Return the rate at the end of the warm-up, for a global batch."""
        return self.scaled(self.base_lr, batch_size)

    def warmup_steps_of(self, steps_per_epoch: int) -> int:
        """Return the steps of the warm-up."""
        return int(self.warmup_epochs * steps_per_epoch)

    def build(self, optimizer: Optimizer, batch_size: int, total_steps: int, steps_per_epoch: int) -> Scheduler:
        """Return the schedule; its `step_update(t)` sets the rates of step t (0-based)."""
        from timm.scheduler.cosine_lr import CosineLRScheduler

        logging.getLogger(CosineLRScheduler.__module__).addFilter(_tells_something)
        warmup = self.warmup_steps_of(steps_per_epoch)
        return CosineLRScheduler(
            optimizer,
            t_initial=total_steps - warmup if self.after_warmup else total_steps,
            lr_min=self.scaled(self.min_lr, batch_size),
            warmup_lr_init=self.scaled(self.warmup_lr, batch_size),
            warmup_t=warmup,
            warmup_prefix=self.after_warmup,
            cycle_limit=1,
            t_in_epochs=False,
        )


class Poly(Config):
    """Linear warm-up to `lr`, then lr * (1 - done) ** power over the steps that are left. Source: mmsegmentation.

    The rate is that of a step, whatever the batch.
    """

    rate: ClassVar[str] = "lr"
    kind: Literal["poly"] = "poly"
    lr: Positive
    power: Positive = 1.0
    min_lr: NotNegative = 0.0
    warmup_steps: int = Field(default=1500, ge=0)
    warmup_ratio: Share = 1e-6
    """The first step's share of `lr`."""

    def peak_lr(self, batch_size: int) -> float:  # noqa: ARG002 (absolute)
        return self.lr

    def warmup_steps_of(self, steps_per_epoch: int) -> int:  # noqa: ARG002 (given in steps)
        return self.warmup_steps

    def build(self, optimizer: Optimizer, batch_size: int, total_steps: int, steps_per_epoch: int) -> Scheduler:  # noqa: ARG002
        """Return the schedule; its `step_update(t)` sets the rates of step t (0-based)."""
        from timm.scheduler.poly_lr import PolyLRScheduler

        logging.getLogger(PolyLRScheduler.__module__).addFilter(_tells_something)
        return PolyLRScheduler(
            optimizer,
            t_initial=max(1, total_steps - self.warmup_steps),
            power=self.power,
            lr_min=self.min_lr,
            warmup_lr_init=self.lr * self.warmup_ratio,
            warmup_t=self.warmup_steps,
            warmup_prefix=True,
            cycle_limit=1,
            t_in_epochs=False,
        )


class MultiStep(Config):
    """Linear warm-up to `lr`, which falls by `factor` at every milestone. Source: detectron2, mmdetection, SimMIM.

    The rate is that of a step, whatever the batch, unless `per_images` is given.
    """

    rate: ClassVar[str] = "lr"
    kind: Literal["multistep"] = "multistep"
    lr: Positive
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    milestone_epochs: tuple[Positive, ...] = ()
    """Passes over the data after which the rate falls. Give these or `milestone_steps`."""
    milestone_steps: tuple[Count, ...] = ()
    """Steps after which the rate falls."""
    warmup_steps: int = Field(default=1000, ge=0)
    warmup_epochs: NotNegative | None = None
    """Passes over the data; in place of `warmup_steps`."""
    warmup_ratio: Share = 1e-3
    """The first step's share of `lr`."""
    per_images: Count | None = None
    """`lr` is multiplied by the global batch / per_images; null: by nothing."""

    @model_validator(mode="after")
    def _milestones_in_one_unit(self) -> MultiStep:
        if bool(self.milestone_epochs) == bool(self.milestone_steps):
            raise ValueError("exactly one of milestone_epochs and milestone_steps")
        milestones = self.milestone_epochs or self.milestone_steps
        if list(milestones) != sorted(set(milestones)):
            raise ValueError("milestones in ascending order")
        return self

    def peak_lr(self, batch_size: int) -> float:
        return self.lr if self.per_images is None else self.lr * batch_size / self.per_images

    def warmup_steps_of(self, steps_per_epoch: int) -> int:
        return self.warmup_steps if self.warmup_epochs is None else int(self.warmup_epochs * steps_per_epoch)

    def build(self, optimizer: Optimizer, batch_size: int, total_steps: int, steps_per_epoch: int) -> Scheduler:  # noqa: ARG002
        """Return the schedule; its `step_update(t)` sets the rates of step t (0-based)."""
        from timm.scheduler.multistep_lr import MultiStepLRScheduler

        after = self.milestone_steps or [round(epochs * steps_per_epoch) for epochs in self.milestone_epochs]
        return MultiStepLRScheduler(
            optimizer,
            decay_t=[step + 1 for step in after],  # timm's milestone m takes effect at step m - 1
            decay_rate=self.factor,
            warmup_lr_init=self.peak_lr(batch_size) * self.warmup_ratio,
            warmup_t=self.warmup_steps_of(steps_per_epoch),
            warmup_prefix=False,
            t_in_epochs=False,
        )


Schedule = Annotated[
    Annotated[Cosine, Tag("cosine")] | Annotated[Poly, Tag("poly")] | Annotated[MultiStep, Tag("multistep")],
    kind_or("cosine"),
]
