"""Patches of images: the classes of their pixels, features on one scale, and what the nearest patches agree on.

Source: CAPI (Darcet et al. 2025, arXiv 2502.08769, facebookresearch/capi `eval_segmentation.py` and `utils.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.engine.samples.unreadable import UnusableError, damage_named
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright
from benchmarks.files.regular import regular
from transfer.segmentation.data import Pair
from transfer.segmentation.masks import MaskValues
from transfer.segmentation.plans.plan import ignored_label

OUTSIDE = "outside every class"


@dataclass(frozen=True)
class PatchClasses:
    """The classes of pixels, of which "outside every class" is one: a neighbour's pixel may lie there too.

    They are numbered in the order of the masks' values, of which the lowest is taken where several are most common.
    """

    values: MaskValues
    side: int
    """How many patches an image has along a side."""
    image_size_px: int

    @property
    def outside(self) -> int:
        """The number of what is outside every class."""
        before = self.values.ignored is not None and self.values.ignored < self.values.first
        return 0 if before else len(self.values.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all classes, in the order of their numbers."""
        names = self.values.classes
        return (*names[: self.outside], OUTSIDE, *names[self.outside :])

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8 if len(self.names) <= 256 else torch.int32

    def read(self, pair: Pair) -> Tensor:
        """Return the classes [patches, pixels of a patch] of a mask that is resized to a square of `image_size_px`.

        The nearest pixel is taken. Raises UnusableError for a damaged mask, and for one with unknown classes.
        """
        with damage_named(pair.mask), open_picture(regular(pair.mask)) as image:
            square = upright(image).resize((self.image_size_px,) * 2, Image.Resampling.NEAREST)
            mask = np.asarray(square)
        try:
            labels = torch.from_numpy(self.values.labels(mask).astype(np.int32))
        except ValueError as error:
            raise UnusableError(f"{pair.mask}: {error}") from None
        ignored = labels == ignored_label(len(self.values.classes))
        numbered = torch.where(ignored, self.outside, labels + int(self.outside == 0))
        return self.split(numbered.to(self.dtype))

    def split(self, pixels: Tensor) -> Tensor:
        """Return an image's pixels [H, W] as those of its patches [patches, pixels of a patch], both row by row."""
        step = self.image_size_px // self.side
        return pixels.view(self.side, step, self.side, step).transpose(1, 2).reshape(self.side**2, step**2)

    def joined(self, patches: Tensor) -> Tensor:
        """Return the pixels of an image's patches [patches, pixels of a patch] as the image [H, W]."""
        step = self.image_size_px // self.side
        return patches.view(self.side, self.side, step, step).transpose(1, 2).reshape((self.image_size_px,) * 2)

    def truth(self, labels: Tensor) -> Tensor:
        """Return classes as true ones, for a `Confusion` of all `names`: those outside take no part in it."""
        return torch.where(labels == self.outside, ignored_label(len(self.names)), labels.int())

    def mask_values(self, labels: Tensor) -> np.ndarray:
        """Return predicted classes as a mask's values; "outside" is its ignored value."""
        inside = labels.int() - int(self.outside == 0) + self.values.first
        ignored = self.values.ignored or 0  # None: then no pixel is outside
        found = torch.where(labels == self.outside, ignored, inside).cpu().numpy()
        return found.astype(np.uint8 if max(self.values.last, ignored) < 256 else np.uint16)


class Standardised:
    """Features less their mean and divided by their standard deviation, as scikit-learn's StandardScaler makes them."""

    def __init__(self, parts: Iterable[Tensor]) -> None:
        """Find mean and deviation of features [N, D] that come in parts, in float64."""
        self.count, self.mean = 0, torch.zeros(())
        squares = torch.zeros(())  # sums of squared distances from the mean
        for part in parts:
            found, more = part.double(), len(part)
            its_mean = found.mean(dim=0)
            apart, both = its_mean - self.mean, self.count + more
            squares = squares + (found - its_mean).square().sum(dim=0) + apart.square() * (self.count * more / both)
            self.mean, self.count = self.mean + apart * (more / both), both
        variance, least = squares / self.count, torch.finfo(torch.float64).eps * self.count
        constant = variance <= least * variance + (least * self.mean).square()  # by rounding alone, as there
        self.scale = torch.where(constant, 1.0, variance.sqrt())

    def __call__(self, features: Tensor) -> Tensor:
        """Return features [N, D] in float32, standardised."""
        mean, scale = self.mean.to(features.device), self.scale.to(features.device)
        return ((features.double() - mean) / scale).float()


def most_common(labels: Tensor) -> Tensor:
    """Return the most common of labels [N, k, ...] along k, [N, ...]; of several the lowest."""
    ordered = labels.sort(dim=1).values
    places = torch.arange(labels.shape[1], device=labels.device).view(1, -1, *[1] * (labels.ndim - 2))
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run = places - (places * begins).cummax(dim=1).values  # how many equal ones stand before
    return ordered.gather(1, run.argmax(dim=1, keepdim=True)).squeeze(1)
