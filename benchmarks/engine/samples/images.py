"""Images as samples: seeded transforms, and unreadable images named and replaced instead of fatal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from benchmarks.data.image_source import ImageSource
from benchmarks.engine.samples.kept import KeptPictures
from benchmarks.engine.samples.seeded import SeededSamples
from benchmarks.engine.samples.unreadable import UNREADABLE, damage_named
from benchmarks.errors import UserError
from benchmarks.files.pictures import open_picture, require_pixels
from benchmarks.files.pixels import upright_pixels
from benchmarks.files.regular import regular

Transform = Callable[[Any], Tensor]
"""Makes a tensor of a PIL image, or of a tensor [C, H, W] float where no image format has so many channels."""
MODES = {1: "L", 3: "RGB"}


class Sample(NamedTuple):
    """One image [C, H, W] float (None: unreadable), its class (0 without labels), and the unreadable files met."""

    image: Tensor | None
    label: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class NormaliseBytes:
    """Makes images [B, C, H, W] float of bytes [B, H, W, C]: (value / 255 - mean) / std, as torchvision computes it."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        mean, std = _on_device(self.mean, images.device), _on_device(self.std, images.device)
        values = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        return values.mul_(1 / 255).sub_(mean).div_(std)


@functools.lru_cache(maxsize=8)
def _on_device(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers as [C, 1, 1] on a device, copied there once: a copy for each batch would wait for the device."""
    return torch.tensor(values, device=device).view(-1, 1, 1)


class Batch(NamedTuple):
    """Images [B, C, H, W] float, labels [B] int64, names of unreadable files, positions [B] int64 of the samples.

    With `normalise`, images are bytes [B, H, W, C] as loaded, and what it makes of them after `to`.
    """

    images: Tensor
    labels: Tensor
    unreadable: list[str]
    positions: Tensor
    normalise: NormaliseBytes | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the batch with images and labels on the device, and normalise them there."""
        images, labels = (tensor.to(device, non_blocking=True) for tensor in (self.images, self.labels))
        if self.normalise is not None and len(images):
            images = self.normalise(images)
        return self._replace(images=images, labels=labels, normalise=None)


def collate(samples: list[tuple[int, Sample]]) -> Batch:
    """Stack samples; those without an image are dropped and their files named."""
    good = [(position, sample.image, sample.label) for position, sample in samples if sample.image is not None]
    return Batch(
        images=torch.stack([image for _, image, _ in good]) if good else torch.empty(0),
        labels=torch.tensor([label for _, _, label in good], dtype=torch.int64),
        unreadable=[text for _, sample in samples for text in sample.unreadable],
        positions=torch.tensor([position for position, _, _ in good], dtype=torch.int64),
    )


class ImageSamples(SeededSamples[int, tuple[Any, int], tuple[int, Sample]]):
    """Images of a source. With `replace`, the next readable image stands in for an unreadable one; without, none."""

    collate = staticmethod(collate)

    def __init__(
        self,
        source: ImageSource,
        labels: Sequence[int] | None,
        transform: Transform,
        *,
        channels: int = 3,
        seed: int = 0,
        replace: bool = True,
        patience: int = 0,
    ) -> None:
        """`patience`: how many unreadable images in a row are skipped before a blank image is returned."""
        super().__init__(range(len(source)), seed, patience)
        self.source, self.labels, self.transform = source, labels, transform
        self.channels, self.replace = channels, replace
        self._kept = KeptPictures(len(source), MODES[channels]) if replace and channels in MODES else None

    def read(self, item: int) -> tuple[Any, int]:
        """Return the image at a position of the source, and its label."""
        image = None if self._kept is None else self._kept.find(item)
        if image is None:
            with damage_named(self.source.where(item), _words), self.source.open(item) as stream:
                image = self.decoded(stream)
            if self._kept is not None and isinstance(image, Image.Image):
                self._kept.keep(item, image)
        return image, self.labels[item] if self.labels is not None else 0

    def decoded(self, stream: IO[bytes]) -> Any:
        """Return the image of an opened file, as the transform takes it. Raises what `read_image` raises."""
        return read_image(stream, self.channels)

    def sample(self, position: int, found: tuple[Any, int] | None, failed: list[str]) -> tuple[int, Sample]:
        if found is None and not self.replace:
            return position, Sample(None, 0, tuple(failed))
        image, label = found or (blank_image(self.channels), 0)
        return position, Sample(self.transform(image), label, tuple(failed))

    @property
    def blank(self) -> Batch:
        """A batch of one black image."""
        return collate([(0, Sample(self.transform(blank_image(self.channels)), 0, ()))])


def _words(error: Exception) -> object:
    # Pillow's own words name the stream's address in memory, which differs from run to run.
    return "no image format" if isinstance(error, UnidentifiedImageError) else error


def read_image(file: Path | IO[bytes], channels: int) -> Image.Image | Tensor:
    """Return an image as an upright PIL image, grey or RGB; for other channels, an array [H, W, C] as [C, H, W] float.

    Whole numbers in an array are divided by the largest of their type, to 0 to 1. Raises ValueError for an array
    of another shape or a picture whose values have no known scale, and what Pillow and NumPy raise for damaged files.
    """
    if channels in MODES:
        with open_picture(file) as image:
            return upright_pixels(image, MODES[channels])
    array = _read_array(file, channels)
    largest = np.iinfo(array.dtype).max if np.issubdtype(array.dtype, np.integer) else 1
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32) / largest)


def read_named(path: Path, channels: int) -> Image.Image | Tensor:
    """Return an image that a person named, as `read_image` does. Raises UserError where it cannot be read."""
    try:
        return read_image(regular(path), channels)
    except UNREADABLE as error:
        why = _words(error)
        why = why.strerror or why if isinstance(why, OSError) else why
        rule = f"an image that can be read ({why})"
        raise UserError.about("image", str(path), rule, "check the path; leave it out, or give another") from None


def _read_array(file: Path | IO[bytes], channels: int) -> NDArray[Any]:
    """Return an array [H, W, C] of numbers. What its header states is judged before memory is taken for it."""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return _read_array(stream, channels)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, numbers = read_header(file)
    if len(shape) != 3 or shape[2] != channels or min(shape) < 1:
        raise ValueError(f"an array {list(shape)} where [H, W, {channels}] belongs")
    if numbers.kind not in "buif":
        raise ValueError(f"an array of {numbers} where numbers belong")
    require_pixels(shape[1], shape[0])
    file.seek(0)
    found: NDArray[Any] = np.load(file, allow_pickle=False)
    return found


def blank_image(channels: int) -> Image.Image | Tensor:
    """Return a black image as `read_image` would."""
    return Image.new(MODES[channels], (64, 64)) if channels in MODES else torch.zeros(channels, 64, 64)
