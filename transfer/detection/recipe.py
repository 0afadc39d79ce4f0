"""The recipe of detection, in one vocabulary for all engines. This module is light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, Tag, model_validator

from benchmarks.config import Config, kind_or, later, placement
from benchmarks.encoders import InitStage
from benchmarks.inference import Undivided
from benchmarks.training.numbers import Count, NotNegative, Positive, Share
from benchmarks.training.training import Training
from transfer.detection.data.recipe import CocoData, DetectionAugmentation, LargeScaleJitter, TestResize
from transfer.encoder.sizes import EncoderSizes

Engine = Literal["torchvision", "detectron2"]
Norm = Literal["none", "BN", "SyncBN", "LN", "GN"]
"""SyncBN shares its statistics between GPUs and is BN on one; GN has 32 groups."""
LEVEL_STRIDES_PX = (4, 8, 16, 32, 64)
"""The strides of the maps that the heads see; the last map is the one before it, subsampled."""


class Norms(Config):
    """The normalisations that follow the convolutions of each part."""

    fpn: Norm = "none"
    """The norms of Swin's feature pyramid network; a ViT's simple feature pyramid has LayerNorms of its own."""
    box_head: Norm = "none"
    """The norms of the box head, only with box_head=4conv1fc: fully connected layers have none."""
    mask_head: Norm = "none"


class Anchors(Config):
    """Reference boxes of the region proposal network."""

    sizes_px: tuple[Positive, Positive, Positive, Positive, Positive] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """The square root of a box's area, for the maps of strides 4, 8, 16, 32 and 64."""
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1.0, 2.0)
    """Height divided by width."""


class Proposals(Config):
    """How many boxes the region proposal network proposes. Source of the defaults: detectron2, mmdetection."""

    before_nms_training: Count = 2000
    """How many of the best boxes of every level go into non-maximum suppression."""
    before_nms_testing: Count = 1000
    kept_training: Count = 1000
    """How many of the best boxes of an image remain after it."""
    kept_testing: Count = 1000
    nms_iou: Share = 0.7
    anchors_per_image: Count = 256
    """How many anchors are drawn for the network's own loss, up to half of them positive."""
    per_image: Count = 512
    """How many proposals are drawn for the heads' losses, up to a quarter of them positive."""


class SmoothL1(Config):
    """The smooth L1 loss of a box's four offsets from its proposal."""

    kind: Literal["smooth_l1"] = "smooth_l1"
    beta: NotNegative = 0.0
    """The difference at which the loss turns from quadratic to linear; 0 is plain L1."""
    weight: Positive = 1.0


class GIoU(Config):
    """One minus the generalised intersection over union (arXiv:1902.09630) of a box and its target."""

    kind: Literal["giou"] = "giou"
    weight: Positive = 10.0


BoxLoss = Annotated[Annotated[SmoothL1, Tag("smooth_l1")] | Annotated[GIoU, Tag("giou")], kind_or("smooth_l1")]


class Testing(TestResize):
    """How objects are searched on the test images. Boxes and masks are scored at each image's own resolution."""

    score_threshold: Share = 0.05
    nms_iou: Share = 0.5
    """Of two detections of a class that overlap more than this, the one with the lower score is dropped."""
    detections_per_image: Count = 100
    save_predictions: bool = placement(False)
    """Write the last step's detections as predictions/box.json and mask.json, in COCO's format of results."""


class DetectionRecipe(EncoderSizes):
    """End-to-end fine-tuning on detection and, where the data set has masks, instance segmentation."""

    engine: Engine = "torchvision"
    heads: Literal["mask_rcnn", "cascade_mask_rcnn"] = "mask_rcnn"
    """cascade_mask_rcnn has three box heads, at IoU 0.5, 0.6 and 0.7, and needs engine=detectron2."""
    masks: bool = True
    """false leaves the mask head out; without masks in the data set it is left out anyway."""
    drop_path_rate: Share = 0.2
    """Stochastic depth, growing linearly to this rate in the last block."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each of the encoder's layers learns at the next deeper one's rate times this; all others at the full rate."""
    fpn_channels: Count = 256
    """Number of channels of every map that the heads see, and of their convolutions."""
    pad_to_square: bool = later(False)
    """Pad all images at the bottom and the right to squares of image_size_px, as ViTDet does, so that a plain
    transformer's positions are never squeezed; false pads to multiples of 32 px, and positions follow the image."""
    rpn_convs: Literal[1, 2] = 1
    """Number of 3x3 convolutions of the region proposal network."""
    box_head: Literal["2fc", "4conv1fc"] = "2fc"
    box_head_channels: Count = 1024
    """Width of the box head's fully connected layers."""
    norm: Norms = Norms()
    box_loss: BoxLoss = SmoothL1()
    anchors: Anchors = Anchors()
    proposals: Proposals = Proposals()
    data: CocoData
    augmentation: DetectionAugmentation = LargeScaleJitter()
    testing: Testing = Testing()
    evaluate_every_steps: Count = 10000
    """Steps from one evaluation to the next; the last step is always evaluated."""
    training: Training

    @model_validator(mode="after")
    def _engine_has_the_heads(self) -> DetectionRecipe:
        if self.heads == "cascade_mask_rcnn" and self.engine != "detectron2":
            raise ValueError("heads=cascade_mask_rcnn needs engine=detectron2: torchvision has no cascade")
        return self

    @model_validator(mode="after")
    def _groups_divide_the_channels(self) -> DetectionRecipe:
        if "GN" in (self.norm.fpn, self.norm.box_head, self.norm.mask_head) and self.fpn_channels % 32:
            raise ValueError(f"fpn_channels ({self.fpn_channels}) must be a multiple of GN's 32 groups")
        return self

    @model_validator(mode="after")
    def _one_training_size(self) -> DetectionRecipe:
        augmentation = self.augmentation
        if isinstance(augmentation, LargeScaleJitter) and augmentation.size_px != self.image_size_px:
            rule = f"image_size_px ({self.image_size_px}) must be augmentation.size_px ({augmentation.size_px})"
            raise ValueError(f"{rule}: the encoder is built for the images it is trained on")
        return self

    @property
    def longest_px(self) -> int:
        """The longest side of any image, in training and in tests."""
        augmentation = self.augmentation
        trained_px = augmentation.size_px if isinstance(augmentation, LargeScaleJitter) else augmentation.longer_px
        return max(trained_px, self.testing.longer_px)

    @model_validator(mode="after")
    def _squares_hold_the_images(self) -> DetectionRecipe:
        if self.pad_to_square and (self.longest_px > self.image_size_px or self.image_size_px % LEVEL_STRIDES_PX[3]):
            rule = f"pad_to_square needs image_size_px ({self.image_size_px}) to be a multiple of {LEVEL_STRIDES_PX[3]}"
            raise ValueError(f"{rule}, and no less than any image ({self.longest_px} px)")
        return self


class EvaluateDetectionRecipe(EncoderSizes):
    """A detector of detectron2 that is trained already, with its heads; nothing is trained."""

    protocol: Literal["evaluate"] = "evaluate"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    detectron2: dict[str, JsonValue]
    """What the model's config says under MODEL, INPUT and TEST; the rest is as in detectron2's defaults."""
    data: CocoData
    save_predictions: bool = placement(False)
    """Write the detections as predictions/box.json and mask.json, in COCO's format of results."""
    inference: Undivided = Undivided()
