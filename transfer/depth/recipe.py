"""The recipe of depth: a linear layer on a frozen encoder, as DINOv2 evaluates it. Light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchmarks.config import Config, placement
from benchmarks.encoders import InitStage
from benchmarks.training.numbers import Count, NotNegative, Positive, Share, Span
from benchmarks.training.training import Training
from transfer.encoder.sizes import EncoderSizes


class DepthData(Config):
    """Images and depth maps that two lists name, as NYUv2 is distributed for depth (BTS): lines of `IMAGE DEPTH FOCAL`.

    Paths lie below the root; a leading slash is dropped, and so is a line whose depth map is `None`. Depth maps are
    pictures of one channel with 16 bits, of the size of their images; 0 is unknown.
    """

    root: str | None = placement(None)
    """The folder of the data set."""
    train_list: str = placement("nyu_train.txt")
    """What the lists name is in the data's fingerprint."""
    test_list: str = placement("nyu_test.txt")
    values_per_metre: Positive = 1000.0
    """Depth maps' values of one metre: 1000 where they are millimetres."""
    max_unreadable: int = Field(default=10, ge=0)
    """How many images that cannot be used are skipped and named; one more stops the run."""


class DepthAugmentation(Config):
    """Augmentation of the training images. Source of the defaults: zhyever/Monocular-Depth-Estimation-Toolbox."""

    rotation: Share = 0.5
    """How often image and depth are turned; what a turned image leaves empty has no depth."""
    rotation_degrees: NotNegative = 2.5
    """The largest angle, to either side."""
    horizontal_flip: Share = 0.5
    colour: Share = 0.5
    """How often gamma, brightness and colours are changed at random, within the ranges below."""
    gamma: Span = (0.9, 1.1)
    brightness: Span = (0.75, 1.25)
    colours: Span = (0.9, 1.1)
    """Each channel's own factor."""


class DepthTesting(Config):
    """How the test images are measured: whole, at their own size."""

    mirrored: bool = True
    """Average the prediction with that of the mirrored image."""
    save_predictions: bool = placement(False)
    """Write the last step's predictions as predictions/NAME.png, as depth maps are stored."""


class LinearDepthRecipe(EncoderSizes):
    """A 1x1 convolution on the patches of a frozen encoder, to bins of depth: DINOv2's linear depth."""

    protocol: Literal["linear"] = "linear"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    crop_px: tuple[Count, Count]
    """Height and width of the training crops."""
    border: Literal["nyu", "none"] = "none"
    """nyu: training images lose NYUv2's border, and scores leave out what lies outside Eigen's crop, both in proportion
    to 480x640."""
    maps: Count = 1
    """How many of a plain transformer's blocks are joined, at equal distances up to the last; or a hierarchical
    encoder's last stages."""
    class_token: bool = True
    """Join every patch with the class token of its block, where the encoder has one."""
    normed: bool = False
    """Whether what is taken has passed the encoder's last norm."""
    upsample: Count = 4
    """Maps are enlarged so many times before the convolution."""
    bins: Annotated[int, Field(ge=2)] = 256
    """A pixel's depth is the mean of so many depths from min_depth_m to max_depth_m at equal distances, weighted by the
    logits above zero, each plus 0.1."""
    min_depth_m: Positive = 0.001
    max_depth_m: Positive = 10.0
    """Predictions are bound to this range, and pixels of the test whose depth is not inside it are not scored."""
    images_per_loss: Count = 2
    """The loss is computed over the pixels of so many images at a time and averaged; DINOv2 has two on each GPU."""
    loss_warmup_steps: Annotated[int, Field(ge=0)] = 100
    """Before so many steps the loss has no variance in it: only the scale is learned."""
    evaluate_every_steps: Count = 1600
    """Steps from one evaluation to the next; the last step is always evaluated."""
    data: DepthData
    augmentation: DepthAugmentation = DepthAugmentation()
    testing: DepthTesting = DepthTesting()
    training: Training

    @model_validator(mode="after")
    def _ascending(self) -> LinearDepthRecipe:
        if self.min_depth_m >= self.max_depth_m:
            raise ValueError("min_depth_m must be below max_depth_m")
        return self
