"""The fields with which every transfer's recipe says how its encoder is built. This module is light to import."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import model_validator

from benchmarks.config import Config, later, placement
from benchmarks.encoders import InitStage, Normalisation, TrainedStage
from benchmarks.errors import UserError
from benchmarks.training.numbers import Count, NotNegative, Positive
from transfer.sources.preprocessing import TestProtocol
from transfer.sources.source import Source


class ImageNormalisation(Config):
    """Mean and standard deviation of each channel, on a scale from 0 to 1."""

    mean: tuple[NotNegative, ...]
    std: tuple[Positive, ...]

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> ImageNormalisation:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError("mean and std: as many numbers as the encoder has channels, 1 or 3")
        return self


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
    normalisation: ImageNormalisation | None = later(None)
    """How images are normalised; null: as the encoder's own were."""
    table_resize: Literal["geometric-cubic", "bicubic", "linear"] = "geometric-cubic"
    """How relative position tables are resized to another window; geometric-cubic is SimMIM's and Swin's way."""


Pooling = Literal["class-token", "mean", "class-token-and-mean", "own"]
"""How an output becomes one vector; `own` is what the encoder's own head takes.

An attention pool's output (SigLIP's) is taken for the class token. Without either, there is one vector whatever is
asked for: the mean of the patches of a Swin or a ViT, and what the own head takes of any other (ResNet, ConvNeXt, ...).
Inside the encoder, `own` is the class token where the own head takes it, and else the mean of a block's patches.
"""


def given_by(recipe: Config) -> frozenset[str]:
    """Return the names of timm's arguments that a recipe sets, and that therefore need not be assumed."""
    return frozenset({"window_size"} if getattr(recipe, "window_size", None) is not None else ())


def normalisation_of(source: Source, sizes: EncoderSizes) -> Normalisation:
    """Return how a recipe's images are normalised for a source: as the recipe says, or else as the encoder's own were.

    Raises UserError where the recipe's has another number of channels than the encoder that it makes.
    """
    channels, given = sizes.in_chans or source.use.architecture.in_chans, sizes.normalisation
    if given is None:
        return source.normalisation.for_channels(channels)
    if len(given.mean) != channels:
        rule = f"{channels} numbers, one for each of the encoder's channels"
        raise UserError.about("normalisation.mean", list(given.mean), rule, "give mean and std for each channel")
    return Normalisation(given.mean, given.std, "the recipe")


def own_protocol(source: Source, sizes: EncoderSizes) -> TestProtocol | None:
    """Return how the encoder's own test images are made, where a recipe leaves that to it; None for other recipes.

    Raises UserError for an encoder that nothing states it of.
    """
    if getattr(getattr(sizes, "data", None), "test_images", "recipe") != "own":
        return None
    found = source.test_protocol()
    if found is None:
        rule = f"recipe for {source.use.reference}: no file beside it states how its test images are made"
        raise UserError.about("data.test_images", "own", rule, "set data.test_images=recipe")
    return found
