"""Images with depth maps as samples: crops changed at random under a seed of their own, and whole test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.encoders import Normalisation
from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.engine.samples.seeded import S, SeededSamples, the_one
from benchmarks.engine.samples.unreadable import UnusableError, damage_named
from benchmarks.engine.seeding import derive
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright, upright_pixels
from benchmarks.files.regular import regular
from transfer.depth.augment import Augment
from transfer.depth.data import DepthPair, DepthSets


@dataclass(frozen=True)
class DepthPicture:
    """An image [H, W, 3] uint8 and its depth [H, W] float32 in metres; 0 is unknown."""

    image: np.ndarray
    depth: np.ndarray


class DepthSample(NamedTuple):
    """A training crop [3, h, w] float, its depth [h, w] in metres, and the files that could not be used before it."""

    image: Tensor
    depth: Tensor
    unreadable: tuple[str, ...]


class DepthBatch(NamedTuple):
    """Crops [B, 3, h, w], their depths [B, h, w] in metres, and the files that could not be used."""

    images: Tensor
    depths: Tensor
    unreadable: list[str]

    def to(self, device: torch.device) -> DepthBatch:
        """Return the batch with its tensors on the device."""
        images, depths = (each.to(device, non_blocking=True) for each in (self.images, self.depths))
        return self._replace(images=images, depths=depths)


class WholeDepth(NamedTuple):
    """A test image [1, 3, H, W] and its depth [H, W] in metres; both are empty where it cannot be used."""

    position: int
    image: Tensor
    depth: Tensor
    unreadable: list[str]

    def to(self, device: torch.device) -> WholeDepth:
        """Return the sample with its tensors on the device."""
        return self._replace(image=self.image.to(device), depth=self.depth.to(device))


class _Depths(SeededSamples[DepthPair, DepthPicture, S]):
    """Images with their depth maps."""

    def __init__(
        self, pairs: Sequence[DepthPair], data: DepthSets, form: Normalisation, seed: int = 0, patience: int = 0
    ) -> None:
        """`patience` is how many unusable images in a row are skipped before a blank one is returned."""
        super().__init__(pairs, seed, patience)
        self.values_per_metre, self.form = data.values_per_metre, form

    def read(self, item: DepthPair) -> DepthPicture:
        return read_picture(item, self.values_per_metre)

    def normalised(self, image: np.ndarray) -> Tensor:
        """Return an image [H, W, 3] of 0 to 255 as [3, H, W], normalised."""
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.form.mean, self.form.std))
        return (torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1) / 255 - mean) / std


class TrainingDepths(_Depths[DepthSample]):
    """Augmented training crops; one that cannot be used is named, and replaced by the next one that can."""

    def __init__(self, data: DepthSets, form: Normalisation, augment: Augment, seed: int, patience: int) -> None:
        super().__init__(data.train, data, form, seed, patience)
        self.augment = augment

    @staticmethod
    def collate(samples: list[DepthSample]) -> DepthBatch:
        """Stack samples."""
        failed = [text for sample in samples for text in sample.unreadable]
        images, depths = [each.image for each in samples], [each.depth for each in samples]
        return DepthBatch(torch.stack(images), torch.stack(depths), failed)

    def read(self, item: DepthPair) -> DepthPicture:
        """Return an image with its depth. Raises UnusableError also for one that is smaller than the crop."""
        found = super().read(item)
        height, width = self.augment.left(found.depth.shape)
        if height < self.augment.crop_px[0] or width < self.augment.crop_px[1]:
            crop = "x".join(map(str, self.augment.crop_px))
            raise UnusableError(f"{item.image}: {height}x{width} px are left of it, fewer than the crop of {crop}")
        return found

    def sample(self, position: int, found: DepthPicture | None, failed: list[str]) -> DepthSample:  # noqa: ARG002
        if found is None:
            return DepthSample(torch.zeros(3, *self.augment.crop_px), torch.zeros(self.augment.crop_px), tuple(failed))
        image, depth = self.augment(found.image, found.depth)
        return DepthSample(self.normalised(image), torch.from_numpy(np.ascontiguousarray(depth)), tuple(failed))


class EvaluationDepths(_Depths[WholeDepth]):
    """Test images, whole. Their sizes may differ, so a sample is a batch of its own."""

    def __init__(self, data: DepthSets, form: Normalisation) -> None:
        super().__init__(data.test, data, form)

    @staticmethod
    def collate(samples: list[WholeDepth]) -> WholeDepth:
        return the_one(samples)

    def seed_of(self, key: SampleKey) -> int:
        return derive(0, "test", key.position)

    @property
    def blank(self) -> WholeDepth:
        """A black image without known depth."""
        return WholeDepth(0, torch.zeros(1, 3, 64, 64), torch.zeros(64, 64), [])

    def sample(self, position: int, found: DepthPicture | None, failed: list[str]) -> WholeDepth:
        if found is None:
            return WholeDepth(position, torch.empty(0), torch.empty(0), failed)
        return WholeDepth(position, self.normalised(found.image)[None], torch.from_numpy(found.depth), failed)


def read_picture(pair: DepthPair, values_per_metre: float) -> DepthPicture:
    """Read an image and its depth. Raises UnusableError for damaged files, several channels, and sizes that differ."""
    with damage_named(pair.image), open_picture(regular(pair.image)) as file:
        image = np.asarray(upright_pixels(file, "RGB"))
    with damage_named(pair.depth), open_picture(regular(pair.depth)) as file:
        values = np.asarray(upright(file))
    if values.ndim != 2:
        raise UnusableError(f"{pair.depth}: {values.shape[2]} channels where one belongs")
    if values.shape != image.shape[:2]:
        sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (values, image)]
        raise UnusableError(f"{pair.depth}: {sizes[0]}, its image {sizes[1]}")
    return DepthPicture(image, (values / values_per_metre).astype(np.float32))
