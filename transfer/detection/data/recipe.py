"""The fields of a detection recipe about its data and their augmentation. This module is light to import."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Tag

from benchmarks.config import Config, kind_or, placement
from benchmarks.training.numbers import Count, Share, Span


class CocoData(Config):
    """Images and annotations in COCO's format; all four places are below `root`."""

    root: str | None = placement(None)
    """The folder of the data set."""
    train_images: str = "train2017"
    test_images: str = "val2017"
    train_annotations: str = "annotations/instances_train2017.json"
    test_annotations: str = "annotations/instances_val2017.json"
    max_unreadable: int = Field(default=10, ge=0)
    """How many images that cannot be used are skipped and named; one more stops the run."""
    max_degenerate: int = Field(default=10, ge=0)
    """How many annotations without any area are left out of a file and named; with one more the file is refused."""


def _ascending(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError("the smaller value first")
    return span


PixelSpan = Annotated[tuple[Count, Count], AfterValidator(_ascending)]


class LargeScaleJitter(Config):
    """Resize by a random factor, then a crop (or padding) to a square. Source: arXiv:2012.07177, arXiv:2203.16527."""

    kind: Literal["lsj"] = "lsj"
    size_px: Count = 1024
    """The side of the square."""
    scale: Span = (0.1, 2.0)
    """Factors of the size at which the whole image just fits into the square."""
    horizontal_flip: Share = 0.5
    copy_paste: Share = 0.0
    """The share of the images into which some of another image's objects are pasted, which needs masks."""


class MultiScale(Config):
    """Resize the shorter side to one of several lengths, for some images after a random crop.

    Source: the 3x recipes of Swin (arXiv:2103.14030), which took them from DETR (arXiv:2005.12872).
    """

    kind: Literal["multiscale"] = "multiscale"
    shorter_px: Annotated[tuple[Count, ...], Field(min_length=1)] = tuple(range(480, 801, 32))
    longer_px: Count = 1333
    """The longer side becomes no longer than this; the shorter one may then be smaller than was drawn."""
    horizontal_flip: Share = 0.5
    crop: Share = 0.5
    """The share of the images that are cropped: resized to a length of crop_shorter_px, cut, then resized as above."""
    crop_shorter_px: Annotated[tuple[Count, ...], Field(min_length=1)] = (400, 500, 600)
    crop_px: PixelSpan = (384, 600)
    """The smallest and the largest side of a crop, whose two sides are drawn independently."""


DetectionAugmentation = Annotated[
    Annotated[LargeScaleJitter, Tag("lsj")] | Annotated[MultiScale, Tag("multiscale")], kind_or("lsj")
]


class TestResize(Config):
    """Test images are resized, keeping their shape, until a side reaches its limit."""

    shorter_px: Count = 800
    longer_px: Count = 1333
