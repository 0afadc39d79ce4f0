"""The part of a recipe that every training shares. Light to import: `--print` and planning need no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from benchmarks.config import Config, Precision, later, placement
from benchmarks.errors import UserError
from benchmarks.training.numbers import Count, NotNegative, Positive
from benchmarks.training.optimizers import AdamW, Optimization
from benchmarks.training.schedules import Cosine, Schedule

TrackerName = Literal["tensorboard", "wandb", "mlflow"]


def require_full_batch(images: int, batch_size: int) -> None:
    """Raise UserError where a training set has fewer images than one batch."""
    if images < batch_size:
        rule = f"at most the number of training images ({images})"
        raise UserError.about("training.batch_size", batch_size, rule, f"set training.batch_size={images} or less")


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
    final_weight_decay: NotNegative | None = later(None)
    """Weight decay goes along a cosine to this at the end of the training; null: it stays. Source: DINO, V-JEPA."""
    schedules_ahead: bool = later(False)
    """A step has the learning rate and the weight decay of the next one, so that the last step has `min_lr`. Source:
    facebookresearch/jepa, which moves its schedules on before every step."""
    optimizer: Optimization = AdamW()
    clip_grad_norm: Positive | None = 5.0
    """Gradients are scaled down to this l2 norm; null switches clipping off."""
    precision: Precision = "bf16"
    """bf16 and fp16 are autocast: weights and optimiser state stay fp32. fp16 scales the loss, so that small gradients
    do not vanish; a step whose gradients overflow changes nothing. It is for GPUs without bf16 (V100, T4)."""
    accumulate: int = placement(1, ge=1)
    """Forward and backward passes per optimiser step: each process takes its share of a batch in so many parts."""
    sharded: bool = placement(False)
    """Divide parameters, gradients and optimiser state between processes (FSDP2), rather than copy them (DDP)."""
    activation_checkpointing: bool = placement(False)
    """Compute the activations of each block again in the backward pass instead of keeping them."""
    evaluation_batch_size: Count | None = placement(None)
    """Images at once, over all processes, where the model is only measured; null: batch_size. It changes nothing but
    the time and the memory. Detection, segmentation, depth and video take one at a time in each process."""
    device: Literal["auto", "cpu", "cuda"] = placement("auto")
    """auto takes a GPU where there is one."""
    workers: int = placement(8, ge=0)
    """Loader processes, at most as many as the process has cores; 0 loads in the training process. The samples are the
    same for any number."""
    log_every_steps: int = placement(50, ge=1)
    track: tuple[TrackerName, ...] = placement(())
    """What goes to metrics.jsonl also goes to these trackers, on this file system (extras of the same names)."""
    track_online: bool = placement(False)
    """W&B and MLflow send it to their servers instead: W&B's login and MLFLOW_TRACKING_URI say where."""
    callbacks: tuple[str, ...] = placement(())
    """Code of other packages that watches the training: names of their entry points in the group mimbench.callbacks."""
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
            given = "(neither)" if self.steps is None else f"{self.epochs} and {self.steps}"
            remedy = "set one of them" if self.steps is None else "leave one out: training.epochs=null, for example"
            raise UserError.about("training.epochs and training.steps", given, "exactly one of the two", remedy)
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

    @property
    def evaluated_at_once(self) -> int:
        """How many images all processes together measure at once."""
        return self.evaluation_batch_size or self.batch_size

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the optimiser steps of the whole training."""
        return self.steps if self.steps is not None else (self.epochs or 0) * steps_per_epoch

    def epochs_seen(self, steps_per_epoch: int) -> int:
        """Return the passes over the data of the whole training, to the nearest whole one."""
        return self.epochs if self.epochs is not None else round(self.total_steps(steps_per_epoch) / steps_per_epoch)
