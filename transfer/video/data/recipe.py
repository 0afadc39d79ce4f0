"""The fields of a recipe about videos: where they are, which frames make a clip, how clips are augmented."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from benchmarks.config import Config, kind_or, later, placement
from benchmarks.training.numbers import Count, Share, Span

Decoder = Literal["auto", "pyav", "torchcodec"]


class VideoData(Config):
    """Videos in folders of classes, or two lists of videos with their labels."""

    root: str | None = placement(None)
    """The folder of the data set."""
    train: str = "train"
    """A folder below the root: TRAIN/CLASS/VIDEO; with lists, one in which listed videos are looked for."""
    test: str = "val"
    train_list: str | None = placement(None)
    """The list of the training videos, one `path label` per line (space, tab or comma), paths below the root, below
    `train`, or absolute; or Kinetics' own CSV (label, youtube_id, ...); or Something-Something's own JSON."""
    test_list: str | None = placement(None)
    classes: str | None = placement(None)
    """The file that says what numbers as labels mean, with one class name per line; or Something-Something's own JSON
    of labels, whose order the classes then have."""
    first_label: Literal[0, 1] | None = placement(None)
    """The number of the first class in lists; null is 0."""
    max_missing: int = Field(default=0, ge=0)
    """How many listed videos may be missing on disk, to be left out and named: copies of Kinetics are never whole."""
    max_unreadable: int = Field(default=10, ge=0)
    """How many videos that cannot be decoded are skipped and named; one more stops the run."""
    decoder: Decoder = placement("auto")
    """auto takes torchcodec where it and FFmpeg's libraries load, else PyAV."""

    @model_validator(mode="after")
    def _one_form(self) -> VideoData:
        if (self.train_list is None) != (self.test_list is None):
            raise ValueError("train_list and test_list together, or neither: numbers in a list do not name folders")
        return self


class ClipSampling(Config):
    """Which frames of a video are seen. Source of the defaults: Video-Swin's Kinetics configs."""

    frames: Count = 32
    """Number of frames in a clip."""
    stride: Count = 2
    """Distance from one frame of a clip to the next, in frames of the video."""
    segments: Count = later(1)
    """A clip consists of so many parts of `frames` frames, one from each of as many equal segments of the video. With
    frames=1 it has one frame of each segment, as in TSN; several with several are V-JEPA's segments, seen as one."""
    test_clips: Count = 4
    """Number of clips of a test video, each centred in one of as many equal segments."""
    test_crops: Literal[1, 3] = 3
    """1 takes the centre of a test clip, 3 both ends of its longer side and the centre."""

    @property
    def clip_frames(self) -> int:
        """The number of frames in a clip, its parts taken together."""
        return self.frames * self.segments


class ResizedCrop(Config):
    """A random part of the picture, resized to the input size. Source of the defaults: Video-Swin."""

    kind: Literal["resized"] = "resized"
    scale: Span = (0.08, 1.0)
    """The part's share of the picture's area."""
    ratio: Span = (3 / 4, 4 / 3)


class ShortSideCrop(Config):
    """The shorter side resized to a random length, then a random crop of the input size, as in SlowFast."""

    kind: Literal["short_side"] = "short_side"
    shorter_side_px: tuple[Count, Count] = (256, 320)


class VideoAugmentation(Config):
    """Augmentation of training clips, the same for all frames of a clip."""

    crop: Annotated[
        Annotated[ResizedCrop, Tag("resized")] | Annotated[ShortSideCrop, Tag("short_side")], kind_or("resized")
    ] = ResizedCrop()
    horizontal_flip: Share = 0.5
    """The share of clips that are mirrored; set 0 where left and right distinguish classes."""
