"""The recipes of segmentation, one class for each protocol: UPerNet on an encoder (or a user's own mmsegmentation
config), a linear layer on a frozen encoder or the neighbours of its patches, a model of others. Light to import."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from benchmarks.config import Config, placement
from benchmarks.encoders import InitStage
from benchmarks.inference import Inference, Undivided
from benchmarks.training.numbers import Count, NotNegative, Positive, Share, Span
from benchmarks.training.training import Training
from transfer.classification.recipe import KeptFeatures
from transfer.encoder.sizes import EncoderSizes, TrainedEncoderSizes


class SegmentationData(Config):
    """Images and masks in the layout of the ADE20K challenge: images/SPLIT/NAME.jpg, annotations/SPLIT/NAME.png.

    What one's own masks hold (task imagemasks) is in the data's fingerprint.
    """

    root: str | None = placement(None)
    """The folder of the data set."""
    train_split: str = "training"
    test_split: str = "validation"
    classes: int | str | tuple[str, ...] | None = placement(None)
    """Of one's own masks: their number, their names, or a file with one name per line; null is ROOT/classes.txt."""
    first_label: Literal[0, 1] | None = placement(None)
    """The value of the first class in one's own masks; null is 0."""
    ignore_value: Annotated[int, Field(ge=0, le=65535)] | None = placement(None)
    """The value of pixels outside every class in one's own masks; null is 255, or none where that is a class."""
    max_unreadable: int = Field(default=10, ge=0)
    """How many images that cannot be used are skipped and named; one more stops the run."""


class Augmentation(Config):
    """Augmentation of the training images. Source of the defaults: mmsegmentation's ADE20K configs."""

    resize_ratio: Span = (0.5, 2.0)
    """The range of the random number by which resize_to_px is multiplied."""
    max_class_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    """A crop in which one class covers more than this is drawn again, up to ten times."""
    horizontal_flip: Share = 0.5
    photometric_distortion: bool = True
    """Whether brightness, contrast, saturation and hue are changed at random."""


class Testing(Config):
    """How the test images are segmented. Scores are at each mask's own resolution."""

    mode: Literal["whole", "slide"] = "whole"
    """whole takes the resized image at once; slide takes windows of image_size_px, whose logits are averaged."""
    stride_px: Count = 341
    """The distance between neighbouring windows; only with mode=slide."""
    multi_scale: tuple[Positive, ...] = ()
    """Factors of resize_to_px at which the last step's model is tested once more, also mirrored (mIoU_ms)."""
    save_predictions: bool = placement(False)
    """Write the last step's predictions as predictions/NAME.png, numbered as the masks are."""


class TrainedSegmentationRecipe(EncoderSizes):
    """The fields of all protocols that train heads; training crops are image_size_px a side."""

    resize_to_px: tuple[Count, Count] = (2048, 512)
    """Images are resized, keeping their shape, to the largest size whose longer and shorter sides fit into this."""
    evaluate_every_steps: Count = 16000
    """Steps from one evaluation to the next; the last step is always evaluated."""
    data: SegmentationData
    augmentation: Augmentation = Augmentation()
    testing: Testing = Testing()
    training: Training


class SegmentationRecipe(TrainedSegmentationRecipe, TrainedEncoderSizes):
    """End-to-end fine-tuning on semantic segmentation."""

    drop_path_rate: Share = 0.3
    """Stochastic depth, growing linearly to this rate in the last block."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each of the encoder's layers learns at the next deeper one's rate times this; the heads at the full rate."""
    head_channels: Count = 512
    """Number of channels of UPerNet's decode head."""
    auxiliary_channels: Count = 256
    auxiliary_weight: NotNegative = 0.4
    """Weight of the loss of the auxiliary head, which stands on the map of stride 16; 0 leaves that head out."""
    mmseg_config: str | None = None
    """A config file of mmsegmentation (.py, .yaml, .json): its heads, losses, pipelines and test_cfg replace the
    recipe's. A .py file is code, and is run. The digest covers what is taken from the file, not its path."""

    def identity(self) -> dict[str, Any]:
        """Return what the digest covers; of a user's config, what is taken from it instead of its path."""
        found = super().identity()
        if self.mmseg_config is not None:
            from transfer.segmentation.plans.user_config import config_digest  # mmengine, only where there is a config

            found["mmseg_config"] = config_digest(self.mmseg_config)
        return found


class LinearSegmentationRecipe(TrainedSegmentationRecipe):
    """Batch normalisation and a 1x1 convolution on the patches of a frozen encoder: DINOv2's linear segmentation."""

    protocol: Literal["linear"] = "linear"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    last_maps: Count = 1
    """How many of the encoder's last maps are joined: those of a plain transformer's last blocks, each after the
    encoder's last norm, or of the last stages of a hierarchical encoder."""


Distance = Literal["cosine", "L2"]


class KnnSegmentationRecipe(EncoderSizes):
    """Nearest neighbours of a frozen encoder's patches: nothing is trained. Source: CAPI (Darcet et al. 2025).

    Images and masks are resized to squares of image_size_px, whatever their shape, and scored there.
    """

    protocol: Literal["knn"] = "knn"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    k: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 3, 10, 30)
    """Numbers of neighbours, of which held-out training images choose one together with the distance."""
    distance: Annotated[tuple[Distance, ...], Field(min_length=1)] = ("cosine", "L2")
    """Distances between standardised features."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The share of the training images that the choice is made on; afterwards they are neighbours, too."""
    data: SegmentationData
    save_predictions: bool = placement(False)
    """Write the predictions as predictions/NAME.png at each image's own size, numbered as the masks are."""
    inference: Inference = Inference()
    features: KeptFeatures = placement(KeptFeatures())


class MmsegModel(Config):
    """A model of mmsegmentation with its heads, as its config describes it; a tuple is `{"tuple": [...]}`."""

    model: dict[str, JsonValue]
    """The dict of the segmentor with backbone, heads, data preprocessor and test_cfg, without what training needs."""
    test_pipeline: tuple[dict[str, JsonValue], ...]
    """How a test image is resized and padded."""
    classes: tuple[str, ...] | None = None
    """The names of its classes in the order of their numbers; null where the file does not name them."""


class EvaluateSegmentationRecipe(EncoderSizes):
    """A segmentation model of others that is trained already, with its heads; nothing is trained."""

    protocol: Literal["evaluate"] = "evaluate"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    mmseg: MmsegModel
    """What `mimbench evaluate` takes from the model's config."""
    data: SegmentationData
    save_predictions: bool = placement(False)
    """Write the predictions as predictions/NAME.png, numbered as the masks are."""
    inference: Undivided = Undivided()
