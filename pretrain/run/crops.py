"""Unlabelled images, cropped and normalised as SimMIM does."""

from __future__ import annotations

import functools
import math
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.data.image_source import ImageSource
from benchmarks.engine.samples.images import MODES, Batch, ImageSamples, NormaliseBytes, Sample, collate
from benchmarks.engine.samples.loaders import SampleKey
from pretrain.recipe import PretrainData, PretrainRecipe
from pretrain.run.fast_jpegs import Box, DecodedJpeg, FastJpegs

TRIES = 10
"""How often a crop is drawn before the middle of the image is taken; torchvision's number."""


def training_samples(recipe: PretrainRecipe, source: ImageSource, seed: int) -> ImageSamples:
    """Return the training images as samples, which `Batch.to` makes [C, image_size_px, image_size_px] float."""
    data, channels = recipe.data, recipe.encoder.in_chans
    if channels in MODES:
        return CroppedPictures(data, recipe.image_size_px, channels, source, seed)
    transform = _transform(data, recipe.image_size_px)
    return ImageSamples(source, None, transform, channels=channels, seed=seed, patience=data.max_unreadable)


class CroppedPictures(ImageSamples):
    """Random crops of pictures as bytes [S, S, C], which are normalised as a batch, on the device.

    They are those of torchvision's RandomResizedCrop and RandomHorizontalFlip under the same seed, to the bit, without
    what these do beside: dispatching by type, and floats in the worker. With `decode: fast` they are the same boxes and
    flips of pixels that are nearly the same.
    """

    def __init__(self, data: PretrainData, size_px: int, channels: int, source: ImageSource, seed: int) -> None:
        """Raise UserError where `decode: fast` lacks its library."""
        super().__init__(source, None, self._crop, channels=channels, seed=seed, patience=data.max_unreadable)
        self._data, self._size_px = data, size_px
        self._fast = FastJpegs(data, size_px, channels) if data.decode == "fast" else None
        self._random = torch.Generator()

    def __getitem__(self, key: SampleKey) -> tuple[int, Sample]:
        failed: list[str] = []
        found = self.usable(key.position, failed)
        self._random.manual_seed(self.seed_of(key))  # a source of its own: no other has to be put back
        return self.sample(key.position, found, failed)

    def decoded(self, stream: IO[bytes]) -> Any:
        return super().decoded(stream) if self._fast is None else self._fast.read(stream)

    def collate(self, samples: list[tuple[int, Sample]]) -> Batch:
        """Stack samples to a batch of bytes."""
        return collate(samples)._replace(normalise=NormaliseBytes(self._data.mean, self._data.std))

    def _crop(self, image: Image.Image | DecodedJpeg) -> Tensor:
        box = draw_box(image.height, image.width, self._data, self._random)
        flip = torch.rand(1, generator=self._random).item() < self._data.horizontal_flip
        pixels = image.cut(box, self._size_px) if isinstance(image, DecodedJpeg) else _cut(image, box, self._size_px)
        return pixels.flip(1) if flip else pixels


def _cut(image: Image.Image, box: Box, size_px: int) -> Tensor:
    pixels = np.array(image.crop(box).resize((size_px, size_px), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels.reshape(size_px, size_px, -1))


def draw_box(height: int, width: int, data: PretrainData, random: torch.Generator) -> Box:
    """Draw a crop as torchvision's RandomResizedCrop does; return its left, upper, right and lower edge in pixels."""
    low, high = _logarithms(data.crop_ratio)
    for _ in range(TRIES):
        target = height * width * torch.empty(1).uniform_(*data.crop_scale, generator=random).item()
        aspect = torch.exp(torch.empty(1).uniform_(low, high, generator=random)).item()
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=random).item())
            left = int(torch.randint(0, width - w + 1, (1,), generator=random).item())
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < min(data.crop_ratio):
        h = round(width / min(data.crop_ratio))
    elif width / height > max(data.crop_ratio):
        w = round(height * max(data.crop_ratio))
    top, left = (height - h) // 2, (width - w) // 2
    return left, top, left + w, top + h


@functools.cache
def _logarithms(ratios: tuple[float, float]) -> tuple[float, float]:
    low, high = torch.log(torch.tensor(ratios)).tolist()  # as torchvision takes them: in single precision
    return low, high


def _transform(data: PretrainData, size_px: int) -> v2.Compose:
    crop = v2.RandomResizedCrop(size_px, scale=data.crop_scale, ratio=data.crop_ratio)
    return v2.Compose([crop, v2.RandomHorizontalFlip(data.horizontal_flip), *_normalised(data)])


def centred(data: PretrainData, size_px: int) -> v2.Compose:
    """Return the transform to the largest square in the middle of an image, of side `size_px`."""
    whole = v2.Resize(size_px, v2.InterpolationMode.BICUBIC, antialias=True)
    return v2.Compose([whole, v2.CenterCrop(size_px), *_normalised(data)])


def _normalised(data: PretrainData) -> list[v2.Transform]:
    normalise = v2.Normalize(list(data.mean), list(data.std))
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), normalise]
