"""What a classification recipe says: SimMIM's fine-tuning. Light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.config import Config
from benchmarks.training import Count, NotNegative, Share, ShareSpan, Span, Training
from transfer.images.recipe import ClassificationData


class Augmentation(Config):
    """Augmentation and regularisation of the training images. Source of the defaults: microsoft/SimMIM."""

    crop_scale: ShareSpan = (0.08, 1.0)
    crop_ratio: Span = (3 / 4, 4 / 3)
    horizontal_flip: Share = 0.5
    color_jitter: NotNegative = 0.4
    """Only without auto_augment, as in timm."""
    auto_augment: str | None = "rand-m9-mstd0.5-inc1"
    """timm's policy string; null switches it off."""
    erase_probability: Share = 0.25
    erase_mode: str = "pixel"
    mixup: NotNegative = 0.8
    cutmix: NotNegative = 1.0
    mix_switch_probability: Share = 0.5
    """Share of batches mixed by cutmix where both are on."""
    label_smoothing: Share = 0.1

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


class FinetuneRecipe(Config):
    """End-to-end fine-tuning on image classification."""

    image_size_px: Count
    window_size: Count | None = None
    """Of windowed transformers, in patches; null keeps the encoder's own."""
    table_resize: Literal["geometric-cubic", "bicubic", "linear"] = "geometric-cubic"
    """How relative position tables are resized to another window; geometric-cubic is SimMIM's and Swin's way."""
    drop_path_rate: Share = 0.1
    """Stochastic depth, growing linearly to this rate in the last block."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Each layer's rate is the next deeper one's times this."""
    evaluate_every_epochs: Count = 1
    """The last epoch is always evaluated."""
    data: ClassificationData
    augmentation: Augmentation = Augmentation()
    training: Training

    @model_validator(mode="after")
    def _mixing_needs_pairs(self) -> FinetuneRecipe:
        if self.augmentation.mixes and self.training.batch_size % 2:
            raise ValueError("training.batch_size must be even with mixup or cutmix, which mix images in pairs")
        return self
