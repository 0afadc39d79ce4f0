"""What a recipe has a model do for each image, by arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue.tasks import TASKS
from benchmarks.encoders import MANIFEST, Architecture, read_manifest
from benchmarks.errors import UserError
from slurm.plan.arithmetic import FROZEN, PASSES
from slurm.plan.estimate.encoders import SIZES, Cut, EncoderCost, Volume, encoder_cost
from slurm.plan.estimate.heads import NO_HEAD, HeadCost, classifier, detector, predictor, upernet
from slurm.plan.speed import Training

ADAPTED = 2
"""Forward passes of a step that trains only adapters: gradients of the matrices themselves are left out."""
STATE_BYTES = {"adamw": 8, "sgd": 4, "lars": 4}
"""What an optimiser keeps for each weight: two moments, or one."""
ASPECT = 4 / 3
"""The longer by the shorter side of a photograph."""


@dataclass(frozen=True)
class Work:
    """What a training does with each image or clip, and what its model holds."""

    encoder: EncoderCost
    head: HeadCost
    frames: int
    """How many times the encoder runs for one sample: frames that it sees one by one."""
    passes: float
    """Forward passes of the encoder in a training step."""
    testing_flops: float
    """Of one test image, all views."""
    trained: float
    """Parameters with a gradient and a state of the optimiser."""
    state_bytes: int
    """What the optimiser keeps for each of them."""
    precision: str
    fast: bool
    recomputed: bool
    sharded: bool
    keeps_features: bool
    """Whether a frozen encoder sees every image once alone, however long its head is trained."""

    @property
    def flops(self) -> float:
        """Operations of a training step for each image, the head's included."""
        return self.passes * self.frames * self.encoder.flops + PASSES * self.head.training_flops

    @property
    def parameters(self) -> float:
        return self.encoder.parameters + self.head.parameters

    @property
    def kept_bytes(self) -> float:
        """What is kept of each image for the backward pass."""
        kept = self.head.kept * SIZES[self.precision]
        if self.passes > 1:
            kept += self.frames * self.encoder.kept[self.precision, self.fast, self.recomputed]
        return kept


def work_of(training: Training) -> Work | None:
    """Return what a training does; None where its encoder has no arithmetic here."""
    recipe = training.recipe
    architecture = recipe.encoder if training.kind == "pretrain" else architecture_of(training.encoder)
    if architecture is None:
        return None
    kind = "pretrain" if training.kind == "pretrain" else TASKS[training.kind].kind
    seen, cut, frames = _seen(kind, recipe, architecture)
    encoder = encoder_cost(architecture, seen, cut)
    if encoder is None:
        return None
    head = _head(kind, recipe, encoder, seen, training.kind)
    frozen = getattr(recipe, "protocol", "finetune") in FROZEN
    adapted = getattr(recipe, "adapters", None) is not None
    again = recipe.training.activation_checkpointing and not frozen
    passes = 1 if frozen else (ADAPTED if adapted else PASSES) + again
    one = frames * encoder.flops * _views(kind, recipe, seen) + head.testing_flops
    return Work(
        encoder=encoder,
        head=head,
        frames=frames,
        passes=passes,
        testing_flops=one,
        trained=head.parameters + (0.0 if frozen else (0.02 if adapted else 1.0) * encoder.parameters),
        state_bytes=STATE_BYTES[recipe.training.optimizer.kind],
        precision=recipe.training.precision,
        fast=bool(getattr(recipe.training, "fast_step", False)),
        recomputed=again,
        sharded=recipe.training.sharded,
        keeps_features=frozen and bool(getattr(recipe, "keeps_features", False)),
    )


def architecture_of(encoder: str | Architecture | None) -> Architecture | None:
    """Return the architecture of a transfer's encoder: of timm's by its name, of an export by its manifest."""
    if encoder is None or isinstance(encoder, Architecture):
        return encoder
    scheme, separator, name = encoder.partition(":")
    if separator and scheme in ("timm", "hf-hub"):
        return Architecture(name=name.partition("/")[2] or name)
    for folder in (Path(encoder), Path(encoder) / "encoder"):
        if (folder / MANIFEST).is_file():
            try:
                return read_manifest(folder).architecture
            except UserError:
                return None
    return None


def _seen(kind: str, recipe: Any, architecture: Architecture) -> tuple[Volume, Cut, int]:
    """Return what the encoder sees at once in training, how it cuts that, and how many times for one sample."""
    side, given = recipe.image_size_px, getattr(recipe, "window_size", None)
    window = (given, given) if isinstance(given, int) else given
    patch = getattr(recipe, "patch_size_px", None)
    plain, volume = Cut(window, patch), Volume(side, side)
    if kind == "depth":
        return Volume(*recipe.crop_px), plain, 1
    if kind == "detection" and recipe.augmentation.kind == "multiscale":
        lengths = recipe.augmentation.shorter_px
        shorter = sum(lengths) / len(lengths)
        return Volume(round(shorter), round(ASPECT * shorter)), plain, 1
    if kind != "video":
        return volume, plain, 1
    frames, temporal = recipe.sampling.clip_frames, getattr(recipe, "temporal", "frame_pooling")
    if temporal == "auto":
        temporal = "swin3d" if architecture.name.startswith("swin_") else "frame_pooling"
    if temporal in ("swin3d", "swinv2_3d"):
        return Volume(side, side, frames), Cut(window, patch, recipe.patch_frames, recipe.window_frames), 1
    return volume, plain, frames


def _head(kind: str, recipe: Any, encoder: EncoderCost, seen: Volume, task: str) -> HeadCost:
    if kind == "pretrain":
        return predictor(recipe, encoder, seen)
    if kind == "detection":
        return detector(recipe, encoder, seen, task)
    if kind == "segmentation" and hasattr(recipe, "head_channels"):
        return upernet(recipe, encoder, seen, task)
    return NO_HEAD if kind == "depth" else classifier(encoder, task)


def _views(kind: str, recipe: Any, seen: Volume) -> float:
    """Return how many training images' worth of pixels a test image has."""
    pixels = seen.height_px * seen.width_px
    if kind == "video":
        one = recipe.views_along_the_way == "one"
        return 1.0 if one else float(recipe.sampling.test_clips * recipe.sampling.test_crops)
    if kind == "detection":
        return float(ASPECT * recipe.testing.shorter_px**2 / pixels)
    if kind == "segmentation":
        whole = float(ASPECT * min(recipe.resize_to_px) ** 2 / pixels)
        return max(whole, 2.0) if recipe.testing.mode == "slide" else whole
    return 2.0 * 480 * 640 / pixels if kind == "depth" else 1.0


def evaluations(training: Training, images: int, per_epoch: int | None) -> int:
    """Return how often a training is evaluated; 0 where nothing says."""
    recipe = training.recipe
    steps: int = math.ceil(images / recipe.training.batch_size)
    every: int | None = getattr(recipe, "evaluate_every_steps", None)
    if every is not None:
        return math.ceil(steps / every)
    every = getattr(recipe, "evaluate_every_epochs", None)
    if training.kind == "pretrain":
        every = None if recipe.validation is None else recipe.validation.every_epochs
    if every is None or not per_epoch:
        return 0
    number: int = math.ceil(images / per_epoch / every)
    return number
