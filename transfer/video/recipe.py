"""The recipes of videos: how an encoder sees clips, and what is trained. This module is light to import."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmarks.config import placement
from benchmarks.encoders import InitStage
from benchmarks.subset import Subset
from benchmarks.training.numbers import Count, Share
from benchmarks.training.training import Training
from transfer.classification.frozen.recipe import AttentivePooling
from transfer.encoder.sizes import EncoderSizes, TrainedEncoderSizes
from transfer.video.data.recipe import ClipSampling, VideoAugmentation, VideoData


class TrainedVideoRecipe(EncoderSizes):
    """The fields of all protocols: clips of image_size_px a side. Source of the defaults: Video-Swin's configs."""

    evaluate_every_epochs: Count = 1
    """Epochs from one evaluation to the next; the last epoch is always evaluated."""
    views_along_the_way: Literal["one", "all"] = "one"
    """one tests only the centre of each test video before the last epoch, as top1_one_view and top5_one_view; all tests
    all views. The last epoch is always tested with all views, whose probabilities are averaged: that is the score."""
    views_at_once: Count = placement(4)
    """How many views of a test video are computed together."""
    data: VideoData
    sampling: ClipSampling = ClipSampling()
    augmentation: VideoAugmentation = VideoAugmentation()
    training: Training

    @property
    def held_out(self) -> Subset | None:
        """The part of the training videos that is not trained on; None: there is none."""
        return None


class VideoRecipe(TrainedVideoRecipe, TrainedEncoderSizes):
    """End-to-end fine-tuning."""

    temporal: Literal["auto", "swin3d", "swinv2_3d", "clips", "frame_pooling"] = "auto"
    """swin3d inflates a Swin to Video Swin, swinv2_3d a SwinV2 in the same way; clips gives clips to an encoder of
    clips as it is; frame_pooling averages the features of single frames, whose order it does not see. auto takes swin3d
    for a Swin, clips for an encoder of clips, else frame_pooling."""
    patch_frames: Count = 2
    """swin3d, swinv2_3d: the number of frames that a patch covers."""
    window_frames: Count = 8
    """swin3d, swinv2_3d: the number of time steps in a window, of patch_frames each."""
    drop_path_rate: Share = 0.3
    """Stochastic depth, growing linearly to this rate in the last block."""
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Dropout before the linear head."""
    encoder_lr_scale: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The encoder's learning rate is the head's times this."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each of the encoder's layers learns at the next deeper one's rate times this."""

    @classmethod
    def renewed(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Move `activation_checkpointing`, which was once a field beside `training`, into it."""
        if "activation_checkpointing" not in data or not isinstance(data.get("training"), dict):
            return super().renewed(data)
        former = {"activation_checkpointing": data["activation_checkpointing"]}
        rest = {name: value for name, value in data.items() if name not in former}
        return super().renewed({**rest, "training": former | data["training"]})


class AttentiveVideoRecipe(TrainedVideoRecipe, AttentivePooling):
    """An attentive probe over the patches of all frames of a clip.

    A frozen encoder of images sees each frame by itself, one of clips the frames of each segment together; where
    `sampling.frames` is 1, those of all segments.
    """

    protocol: Literal["attentive"] = "attentive"
    starts_from: tuple[InitStage, ...] | None = placement(None)
    time_embedding: bool = False
    """Add sines and cosines of the place of a frame (or tubelet) in the clip to its patches; without it an encoder of
    images does not see the order of frames, as in V-JEPA's evaluation of such."""

    @property
    def held_out(self) -> Subset | None:
        return None if self.grid is None else self.grid.held_out

    @model_validator(mode="after")
    def _probes_are_alone(self) -> AttentiveVideoRecipe:
        if self.grid is not None:
            self.grid.require_alone(self.training)
        return self
