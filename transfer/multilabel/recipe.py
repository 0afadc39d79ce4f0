"""The recipe of images with several classes: support vector machines on frozen features. Light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from benchmarks.config import Config, placement
from benchmarks.encoders import InitStage
from benchmarks.inference import Inference
from benchmarks.training.numbers import Count, Positive
from transfer.classification.recipe import KeptFeatures
from transfer.encoder.sizes import EncoderSizes, Pooling


class MultilabelData(Config):
    """Images and lists of each class, as PASCAL VOC is distributed."""

    root: str | None = placement(None)
    """The folder with ImageSets and JPEGImages, or one that holds it as VOC2007 or VOCdevkit/VOC2007."""
    train_split: str = "trainval"
    test_split: str = "test"
    max_unreadable: int = Field(default=10, ge=0)
    """How many images that cannot be used are skipped and named; one more stops the run."""


class SvmRecipe(EncoderSizes):
    """A linear support vector machine for each class on features of length 1. Source: VISSL (Goyal et al. 2019).

    Images are resized to squares of image_size_px, whatever their shape.
    """

    protocol: Literal["svm"] = "svm"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    data: MultilabelData
    interpolation: Literal["bicubic", "bilinear"] = "bilinear"
    pooling: Pooling = "own"
    costs: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """Values of C, the inverse strength of the L2 penalty. Each class takes that of the best average precision over the
    folds, and is fitted with it again on all training images."""
    folds: Annotated[int, Field(ge=2)] = 3
    """Parts of the training images, each of which is predicted once by what was fitted to the others."""
    positive_weight: Positive = 2.0
    """How much an image of the class weighs beside one that is not of it."""
    max_iterations: Count = 2000
    tolerance: Positive = 1e-6
    """The solver's relative tolerance of the gradient's norm."""
    inference: Inference = Inference()
    features: KeptFeatures = placement(KeptFeatures())
