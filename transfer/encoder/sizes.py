"""The fields with which every transfer's recipe says how its encoder is built. This module is light to import."""

from __future__ import annotations

from typing import Literal, get_args

from benchmarks.config import Config, later, placement
from benchmarks.encoders import InitStage, TrainedStage
from benchmarks.training.numbers import Count, Positive


class EncoderSizes(Config):
    """How the encoder is built; the recipes of all kinds of task have these fields."""

    starts_from: tuple[InitStage, ...] | None = placement(get_args(TrainedStage))
    """The stages of the encoders that the recipe is for; null: any. It changes nothing of what is trained: plans, runs
    and reports say where an encoder of another stage is given."""
    image_size_px: Count
    """The side of the images that the encoder is trained on."""
    window_size: Count | tuple[Count, Count] | None = None
    """The window of a windowed transformer, in patches; [rows, columns] if not square; null keeps the encoder's own."""
    patch_size_px: Count | None = None
    """The side of a patch, to which the patch embedding is resized; null keeps the encoder's own."""
    in_chans: Literal[1, 3] | None = None
    """1 reads images in grey, 3 in colour; null keeps the encoder's own."""
    table_resize: Literal["geometric-cubic", "bicubic", "linear"] = "geometric-cubic"
    """How relative position tables are resized to another window; geometric-cubic is SimMIM's and Swin's way."""


class Adapters(Config):
    """Low-rank adapters: of each matrix W of the encoder's blocks, only B and A of W + alpha / rank * B A are trained.

    Source: arXiv:2106.09685. The encoder's own weights, norms and batch statistics stay as they are.
    """

    rank: Count = 8
    """The rank of what is added; matrices of no higher rank are left alone."""
    alpha: Positive = 16.0
    """What is added is scaled by alpha / rank."""
    targets: Literal["attention", "all"] = "attention"
    """attention adapts the projections of query, key, value and output; all every linear layer and convolution of the
    blocks, but for convolutions in groups."""


class TrainedEncoderSizes(EncoderSizes):
    """The fields of recipes that train the encoder."""

    adapters: Adapters | None = later(None)
    """Train low-rank adapters, which the export adds to the weights; null trains the whole encoder."""


Pooling = Literal["class-token", "mean", "class-token-and-mean", "own"]
"""How an output becomes one vector; `own` is what the encoder's own head takes.

An attention pool's output (SigLIP's) is taken for the class token. Without either, there is one vector whatever is
asked for: the mean of the patches of a Swin or a ViT, and what the own head takes of any other (ResNet, ConvNeXt, ...).
Inside the encoder it is the mean of a block's tokens.
"""


def given_by(recipe: Config) -> frozenset[str]:
    """Return the names of timm's arguments that a recipe sets, and that therefore need not be assumed."""
    return frozenset({"window_size"} if getattr(recipe, "window_size", None) is not None else ())
