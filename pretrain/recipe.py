"""What a pretraining recipe says. Light to import."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from benchmarks.config import Config, placement
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD, Architecture, find_architecture
from benchmarks.training import Count, Positive, Share, ShareSpan, Span, Training
from pretrain.heads import Heads, LinearHead
from pretrain.masking import Masking, RandomMask
from pretrain.targets import Pixels, Targets


class PretrainData(Config):
    """Images without labels, and how they are cropped."""

    root: str | None = placement(None)
    """Folder of the data set."""
    split: str = "train"
    """Folder below the root; every image below it is used, whatever its sub-folder."""
    crop_scale: ShareSpan = (0.67, 1.0)
    """Share of the image's area that a random crop covers."""
    crop_ratio: Span = (3 / 4, 4 / 3)
    horizontal_flip: Share = 0.5
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[Positive, ...] = IMAGENET_STD
    max_unreadable: int = Field(default=10, ge=0)
    """So many unreadable images are skipped and named; one more stops the run."""


class PretrainRecipe(Config):
    """SimMIM pretraining. Source of the defaults: microsoft/SimMIM."""

    image_size_px: Count
    encoder: Architecture
    """A name of `mimbench list encoders`, a timm model name, or {name, arguments}."""
    drop_path_rate: Share = 0.0
    masking: Masking = RandomMask()
    """Which patches are hidden, by `kind`: random, square, blockwise."""
    head: Heads = LinearHead()
    """What predicts from features, by `kind`: linear, mlp, inverse_swin."""
    target: Targets = Pixels()
    """What is predicted, by `kind`: pixels, colour_bins, colour_clusters, tokens."""
    data: PretrainData
    training: Training
    export_epochs: tuple[Count, ...] = placement(())
    """After these epochs the encoder is exported as well, so that it can be measured as it was then."""

    @field_validator("encoder", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return find_architecture(value) if isinstance(value, str) else value
