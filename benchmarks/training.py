"""The part of a recipe that every training shares. Light to import: `--print` and planning need no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from benchmarks.config import Config, placement

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
REFERENCE_BATCH = 512


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the smaller value first")
    return span


Span = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
"""From the smaller to the larger of two positive numbers."""
ShareSpan = Annotated[tuple[Share, Share], AfterValidator(_ascending)]


class Schedule(Config):
    """Warm-up and cosine, per step. Rates are per 512 images: each is multiplied by global batch / 512."""

    base_lr: Positive
    warmup_lr: NotNegative
    min_lr: NotNegative
    warmup_epochs: NotNegative


class Training(Config):
    """How a model is trained: AdamW with SimMIM's decay groups, warm-up and cosine, gradient clipping."""

    epochs: Count
    batch_size: Count
    """Global batch: images per optimiser step, over all processes."""
    schedule: Schedule
    weight_decay: NotNegative = 0.05
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Positive = 1e-8
    clip_grad_norm: Positive | None = 5.0
    """Gradients are scaled down to this l2 norm; null switches clipping off."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16 is autocast: weights and optimiser state stay fp32."""
    device: Literal["auto", "cpu", "cuda"] = placement("auto")
    """auto takes a GPU where there is one."""
    workers: int = placement(8, ge=0)
    """Loader processes; 0 loads in the training process. The samples are the same for any number."""
    log_every_steps: int = placement(50, ge=1)
    checkpoint_every_steps: int = placement(1000, ge=1)
    """At most this many steps of work can be lost. A checkpoint is also written at every stop request."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> Training:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs ({self.schedule.warmup_epochs:g}) must be less than epochs ({self.epochs})"
            )
        return self

    def scaled(self, rate: float) -> float:
        """Return a rate given per 512 images for this recipe's batch. Source: SimMIM, linear scaling rule."""
        return rate * self.batch_size / REFERENCE_BATCH
