"""Images with objects as samples for a detector, each augmented from a seed of its own, and a detector's results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.encoders import Normalisation
from benchmarks.engine.samples.seeded import SeededSamples
from benchmarks.engine.samples.unreadable import UnusableError, damage_named
from benchmarks.errors import UserError
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright_pixels
from benchmarks.files.regular import regular
from transfer.detection.data.augment import augment_of, resized_for_test
from transfer.detection.data.coco import Annotation, Picture
from transfer.detection.data.outlines import Rle, drawn
from transfer.detection.data.recipe import DetectionAugmentation, LargeScaleJitter, TestResize
from transfer.detection.data.view import View


@dataclass(frozen=True)
class Target:
    """The objects on an image, without crowds, in pixels of the image as the model gets it."""

    boxes: Tensor
    """[N, 4] float32: left, top, right, bottom."""
    labels: Tensor
    """[N] int64, from 0."""
    masks: Tensor | None
    """[N, h, w] bool; None where the data set has no masks, or they are not wanted."""
    image_id: int
    original_size: tuple[int, int]
    """Height and width of the image file."""

    def to(self, device: torch.device) -> Target:
        masks = None if self.masks is None else self.masks.to(device, non_blocking=True)
        boxes, labels = (tensor.to(device, non_blocking=True) for tensor in (self.boxes, self.labels))
        return dataclasses.replace(self, boxes=boxes, labels=labels, masks=masks)


@dataclass(frozen=True)
class Detections:
    """The objects that a detector finds on one image, in pixels of the image file."""

    image_id: int
    boxes: Tensor
    """[N, 4] float: left, top, right, bottom."""
    scores: Tensor
    """[N]."""
    labels: Tensor
    """[N] int64, from 0."""
    masks: list[Rle] | None
    """A mask of the file's size for each box; None from a model without masks."""


class PictureSample(NamedTuple):
    """A normalised image [3, h, w] float32 with its target, and the files that could not be used before it."""

    image: Tensor | None
    target: Target | None
    unreadable: tuple[str, ...]


class PictureBatch(NamedTuple):
    """Normalised images [3, h, w] float32 of any sizes with their targets, and the files that could not be used."""

    images: list[Tensor]
    targets: list[Target]
    unreadable: list[str]

    def to(self, device: torch.device) -> PictureBatch:
        """Return the batch with images and targets on the device."""
        images = [image.to(device, non_blocking=True) for image in self.images]
        return self._replace(images=images, targets=[target.to(device) for target in self.targets])


class Pictures(SeededSamples[Picture, tuple[Picture, View], PictureSample]):
    """Images with their objects."""

    masks = False
    """Whether targets have masks."""
    normalise: Normalise

    @staticmethod
    def collate(samples: list[PictureSample]) -> PictureBatch:
        """Put samples into one batch; those without an image are dropped and their files named."""
        return PictureBatch(
            [sample.image for sample in samples if sample.image is not None],
            [sample.target for sample in samples if sample.target is not None],
            [text for sample in samples for text in sample.unreadable],
        )

    def read(self, item: Picture) -> tuple[Picture, View]:
        return item, read_view(item, self.masks)

    @property
    def blank(self) -> PictureBatch:
        """A batch of one black image."""
        return self.collate([self.sample(0, self._blank(0), [])])

    def _blank(self, position: int) -> tuple[Picture, View]:
        blank = self.items[position]._replace(annotations=())
        return blank, _view(np.zeros((blank.height, blank.width, 3), np.uint8), blank, self.masks)

    def _sample(self, view: View, picture: Picture, failed: list[str]) -> PictureSample:
        return PictureSample(self.normalise(view.image), _target(view, picture), tuple(failed))


class TrainingPictures(Pictures):
    """Augmented training images; one that cannot be used is named, and replaced by the next one that can."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        augmentation: DetectionAugmentation,
        normalisation: Normalisation,
        seed: int,
        patience: int,
        masks: bool,
    ) -> None:
        """`patience`: how many unusable images in a row are skipped before a blank one is returned.

        `masks`: whether targets have them; every object must. Raises UserError for copy-paste without masks.
        """
        super().__init__(pictures, seed, patience)
        self.masks, self.normalise = masks, Normalise(normalisation)
        self.augment = augment_of(augmentation, self.normalise.mean_colour())
        if isinstance(augmentation, LargeScaleJitter) and augmentation.copy_paste and not masks:
            rule, remedy = "0 without masks: objects are cut out along them", "set augmentation.copy_paste=0"
            raise UserError.about("augmentation.copy_paste", augmentation.copy_paste, rule, remedy)

    def sample(self, position: int, found: tuple[Picture, View] | None, failed: list[str]) -> PictureSample:
        picture, view = found or self._blank(position)
        view = self.augment(view, lambda: self._another(failed))
        return self._sample(view, picture, failed)

    def _another(self, failed: list[str]) -> View:
        """Return an image drawn at random, whose objects may be pasted into another."""
        position = int(torch.randint(len(self), ()))
        return (self.usable(position, failed) or self._blank(position))[1]


class EvaluationPictures(Pictures):
    """Test images with their own aspect ratio; one that cannot be used is named, and left out of its batch."""

    def __init__(self, pictures: Sequence[Picture], resize: TestResize, normalisation: Normalisation) -> None:
        super().__init__(pictures)
        self.resize, self.normalise = resize, Normalise(normalisation)

    def sample(self, position: int, found: tuple[Picture, View] | None, failed: list[str]) -> PictureSample:  # noqa: ARG002
        if found is None:
            return PictureSample(None, None, tuple(failed))
        return self._sample(resized_for_test(found[1], self.resize), found[0], failed)


def read_view(picture: Picture, masks: bool) -> View:
    """Read an image with its objects, without crowds. Raises UnusableError for damage, and for another size."""
    with damage_named(picture.path), open_picture(regular(picture.path)) as image:
        stored, shown = image.size, np.array(upright_pixels(image, "RGB"))
    if (height_width := shown.shape[:2]) != (picture.height, picture.width):
        found = f"{height_width[1]}x{height_width[0]}"
        turned = " (upright, as its EXIF orientation says)" * (stored == height_width and stored[0] != stored[1])
        raise UnusableError(f"{picture.path}: {found}{turned}, its annotations say {picture.width}x{picture.height}")
    return _view(shown, picture, masks).sound().visible()


def _view(pixels: np.ndarray, picture: Picture, masks: bool) -> View:
    objects = [each for each in picture.annotations if not each.crowd]
    boxes = torch.tensor([each.box_xyxy for each in objects], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([each.category for each in objects], dtype=torch.int64)
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    return View(image, boxes, labels, _masks(objects, picture) if masks else None)


def _masks(objects: Sequence[Annotation], picture: Picture) -> Tensor:
    masks = np.zeros((len(objects), picture.height, picture.width), bool)
    for mask, each in zip(masks, objects, strict=True):
        assert each.segmentation is not None
        mask[:] = drawn(each.segmentation, picture.height, picture.width)
    return torch.from_numpy(masks)


def _target(view: View, picture: Picture) -> Target:
    size = (picture.height, picture.width)
    masks = None if view.masks is None else view.masks.as_subclass(Tensor)
    return Target(view.boxes.as_subclass(Tensor), view.labels, masks, picture.id, size)


class Normalise:
    """Turns uint8 [3, H, W] into float32, normalised by the mean and standard deviation that the encoder expects."""

    def __init__(self, normalisation: Normalisation) -> None:
        rgb = normalisation.for_channels(3)
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (rgb.mean, rgb.std))

    def __call__(self, image: Tensor) -> Tensor:
        return (image / 255 - self.mean) / self.std

    def mean_colour(self) -> tuple[int, ...]:
        """Return the colour [3], 0 to 255, that becomes zeros."""
        return tuple(round(255 * value) for value in self.mean.flatten().tolist())
