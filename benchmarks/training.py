"""The part of a recipe that every training shares. Light to import: `--print` and planning need no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, Tag, model_validator

from benchmarks.config import Config, kind_or, later, placement
from benchmarks.errors import UserError

if TYPE_CHECKING:
    from timm.scheduler.scheduler import Scheduler
    from torch.optim import Optimizer

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
TrackerName = Literal["tensorboard", "wandb", "mlflow"]


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the smaller value first")
    return span


Span = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
"""From the smaller to the larger of two positive numbers."""
ShareSpan = Annotated[tuple[Share, Share], AfterValidator(_ascending)]


def require_full_batch(images: int, batch_size: int) -> None:
    """Raise UserError where a training set has fewer images than one batch."""
    if images < batch_size:
        rule = f"at most the number of training images ({images})"
        raise UserError.about("training.batch_size", batch_size, rule, f"set training.batch_size={images} or less")


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


class AdamW(Config):
    """Adam with decoupled weight decay. Source of the defaults: microsoft/SimMIM."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Positive = 1e-8

    def build(self, groups: list[dict[str, Any]], lr: float, fused: bool = False) -> Optimizer:
        """Return the optimiser over groups that `benchmarks.engine.optim.parameter_groups` made.

        `fused` goes once through all weights, instead of once for each of Adam's operations.
        """
        from torch.optim import AdamW

        return AdamW(groups, lr=lr, betas=self.betas, eps=self.eps, fused=True if fused else None)


class Sgd(Config):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False

    def build(self, groups: list[dict[str, Any]], lr: float, fused: bool = False) -> Optimizer:  # noqa: ARG002
        """Return the optimiser over groups that `benchmarks.engine.optim.parameter_groups` made."""
        from torch.optim import SGD

        return SGD(groups, lr=lr, momentum=self.momentum, nesterov=self.nesterov)


class Lars(Config):
    """Layer-wise adaptive rates: each matrix's step is scaled to `trust_coefficient` of its own norm.

    Vectors and biases take plain steps with momentum. Source: arXiv:1708.03888, facebookresearch/mae `util/lars.py`.
    """

    kind: Literal["lars"] = "lars"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    trust_coefficient: Positive = 1e-3

    def build(self, groups: list[dict[str, Any]], lr: float, fused: bool = False) -> Optimizer:  # noqa: ARG002
        """Return the optimiser over groups that `benchmarks.engine.optim.parameter_groups` made."""
        from timm.optim import Lars

        # timm does not adapt groups without weight decay unless asked to; a group holds either matrices or vectors
        marked = [{**group, "always_adapt": all(tensor.ndim > 1 for tensor in group["params"])} for group in groups]
        optimizer: Optimizer = Lars(marked, lr=lr, momentum=self.momentum, trust_coeff=self.trust_coefficient)
        return optimizer


Optimization = Annotated[
    Annotated[AdamW, Tag("adamw")] | Annotated[Sgd, Tag("sgd")] | Annotated[Lars, Tag("lars")], kind_or("adamw")
]


Schedule = Annotated[
    Annotated[Cosine, Tag("cosine")] | Annotated[Poly, Tag("poly")] | Annotated[MultiStep, Tag("multistep")],
    kind_or("cosine"),
]


class Training(Config):
    """How a model is trained: an optimiser over SimMIM's decay groups, a schedule, gradient clipping."""

    epochs: Count | None = None
    """Passes over the training data; a ragged last batch is dropped. Give this or `steps`."""
    steps: Count | None = None
    """Optimiser steps. Give this or `epochs`."""
    batch_size: Count
    """Global batch: images per optimiser step, over all processes."""
    repeats: int = later(1, ge=1)
    """How often in a row an image is drawn, augmented anew each time. An epoch has as many steps as with 1, and so sees
    1 / repeats of the images. Source: repeated augmentation, arXiv:1901.09335 and facebookresearch/deit."""
    schedule: Schedule
    weight_decay: NotNegative = 0.05
    """Decay of all weights but vectors, biases, position embeddings, Swin's position tables and learned tokens."""
    optimizer: Optimization = AdamW()
    clip_grad_norm: Positive | None = 5.0
    """Gradients are scaled down to this l2 norm; null switches clipping off."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16 is autocast: weights and optimiser state stay fp32."""
    accumulate: int = placement(1, ge=1)
    """Forward and backward passes per optimiser step: each process takes its share of a batch in so many parts."""
    sharded: bool = placement(False)
    """Divide parameters, gradients and optimiser state between processes (FSDP2), rather than copy them (DDP)."""
    activation_checkpointing: bool = placement(False)
    """Compute the activations of each block again in the backward pass instead of keeping them."""
    device: Literal["auto", "cpu", "cuda"] = placement("auto")
    """auto takes a GPU where there is one."""
    workers: int = placement(8, ge=0)
    """Loader processes; 0 loads in the training process. The samples are the same for any number."""
    log_every_steps: int = placement(50, ge=1)
    track: tuple[TrackerName, ...] = placement(())
    """What goes to metrics.jsonl also goes to these trackers, on this file system (extras of the same names)."""
    track_online: bool = placement(False)
    """W&B and MLflow send it to their servers instead: W&B's login and MLFLOW_TRACKING_URI say where."""
    checkpoint_every_steps: int = placement(1000, ge=1)
    """At most this many steps of work can be lost. A checkpoint is also written at every stop request."""

    @classmethod
    def renewed(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Read `tensorboard`, which was a field of its own before there were other trackers."""
        former = data.get("tensorboard")
        rest = {name: value for name, value in data.items() if name != "tensorboard" or not isinstance(former, bool)}
        return super().renewed(({"track": ["tensorboard"]} if former is True else {}) | rest)

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("exactly one of training.epochs and training.steps")
        return self

    @model_validator(mode="after")
    def _warmup_fits(self) -> Training:
        schedule = self.schedule
        if isinstance(schedule, Cosine) and self.epochs is not None and schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs ({schedule.warmup_epochs:g}) must be less than epochs ({self.epochs})"
            )
        if not isinstance(schedule, Cosine) and self.steps is not None and schedule.warmup_steps >= self.steps:
            raise ValueError(f"schedule.warmup_steps ({schedule.warmup_steps}) must be less than steps ({self.steps})")
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the optimiser steps of the whole training."""
        return self.steps if self.steps is not None else (self.epochs or 0) * steps_per_epoch

    def epochs_seen(self, steps_per_epoch: int) -> int:
        """Return the passes over the data of the whole training, to the nearest whole one."""
        return self.epochs if self.epochs is not None else round(self.total_steps(steps_per_epoch) / steps_per_epoch)
