"""The recipe of correspondence: keypoints carried over by a frozen encoder's patches. Light to import."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmarks.config import Config, placement
from benchmarks.encoders import InitStage
from benchmarks.inference import Inference
from benchmarks.training.numbers import Count
from transfer.classification.recipe import KeptFeatures
from transfer.encoder.sizes import EncoderSizes


class PairData(Config):
    """Pairs of images with keypoints, as SPair-71k is distributed: PairAnnotation/SPLIT/NAME.json, JPEGImages."""

    root: str | None = placement(None)
    """The folder of the data set, or one that holds it as SPair-71k."""
    split: str = "test"
    max_unreadable: int = Field(default=10, ge=0)
    """How many images that cannot be used are skipped and named; one more stops the run."""


class NearestPatchRecipe(EncoderSizes):
    """Each keypoint is carried over to the patch most similar to its own; nothing is trained.

    Images are resized until their longer side is image_size_px, and padded with black to squares. Source: Zhang et al.
    2023 (A Tale of Two Features), with one encoder alone.
    """

    protocol: Literal["nearest"] = "nearest"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    layer: Count | None = None
    """The block whose patches are compared, before the encoder's last norm, counted from 1 through all stages; null
    takes the last, or the encoder's own output where its blocks give no tokens."""
    data: PairData
    inference: Inference = Inference()
    features: KeptFeatures = placement(KeptFeatures())
