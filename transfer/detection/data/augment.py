"""Augmentation of detection images. All random numbers come from torch's random state, which the caller seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from transfer.detection.data.recipe import DetectionAugmentation, LargeScaleJitter, MultiScale, TestResize
from transfer.detection.data.view import Size, View

Another = Callable[[], View]
"""Returns another training image, for copy-paste."""


class Augment(Protocol):
    """Turns an image as it was read into one to train on."""

    def __call__(self, view: View, another: Another) -> View: ...


def augment_of(config: DetectionAugmentation, fill: tuple[int, ...]) -> Augment:
    """Return the augmentation that a recipe asks for; `fill` is the colour [3], 0 to 255, of padding."""
    return Jitter(config, fill) if isinstance(config, LargeScaleJitter) else Multi(config)


class Jitter:
    """Large-scale jitter, optionally with copy-paste. Source: arXiv:2012.07177; sizes as detectron2 computes them."""

    def __init__(self, config: LargeScaleJitter, fill: tuple[int, ...]) -> None:
        self.config, self.fill = config, fill

    def __call__(self, view: View, another: Another) -> View:
        jittered = self._jittered(view)
        if _happens(self.config.copy_paste):
            other = self._jittered(another())
            return jittered.with_pasted(other.keep(torch.rand(len(other.labels)) < 0.5))
        return jittered

    def _jittered(self, view: View) -> View:
        side = self.config.size_px
        view = view.mirrored() if _happens(self.config.horizontal_flip) else view
        height, width = view.size
        scale = _uniform(*self.config.scale) * min(side / height, side / width)
        resized = view.resized((_rounded(height * scale), _rounded(width * scale)))
        cut = _random_crop(resized, (min(side, resized.size[0]), min(side, resized.size[1])))
        return cut.padded((side, side), self.fill)


class Multi:
    """Multi-scale resize, for some images after a random crop. Source: arXiv:2005.12872, arXiv:2103.14030."""

    def __init__(self, config: MultiScale) -> None:
        self.config = config

    def __call__(self, view: View, another: Another) -> View:  # noqa: ARG002 (the protocol's)
        config = self.config
        if _happens(config.horizontal_flip):
            view = view.mirrored()
        if _happens(config.crop):
            view = view.resized(fitted(view.size, _one_of(config.crop_shorter_px), None))
            smallest, largest = config.crop_px
            height, width = (_whole(min(side, smallest), min(side, largest)) for side in view.size)
            view = _random_crop(view, (height, width))
        return view.resized(fitted(view.size, _one_of(config.shorter_px), config.longer_px))


def resized_for_test(view: View, config: TestResize) -> View:
    """Return a test image in the size that a recipe asks for, with its shape kept."""
    return view.resized(fitted(view.size, config.shorter_px, config.longer_px))


def fitted(size: Size, shorter: int, longer: int | None) -> Size:
    """Return the size whose shorter side is `shorter`, or less where the longer one would exceed `longer`.

    Sides are rounded as by detectron2's ResizeShortestEdge.
    """
    height, width = (shorter if side == min(size) else side * (shorter / min(size)) for side in size)
    if longer is not None and max(height, width) > longer:
        scale = longer / max(height, width)
        height, width = height * scale, width * scale
    return _rounded(height), _rounded(width)


def _random_crop(view: View, size: Size) -> View:
    (height, width), (rows, columns) = view.size, size
    return view.cropped(_whole(0, height - rows), _whole(0, width - columns), size)


def _rounded(side: float) -> int:
    return max(1, int(side + 0.5))


def _happens(share: float) -> bool:
    return torch.rand(()).item() < share


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), dtype=torch.float64).item()


def _whole(low: int, high: int) -> int:
    """Draw a whole number from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, ()).item())


def _one_of(values: Sequence[int]) -> int:
    return values[_whole(0, len(values) - 1)]
