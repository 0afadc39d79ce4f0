"""Which images a model takes, and which it turns into maps: any, multiples of a step, or one size.

timm's models do not declare it, so they are run without values: on torch's meta device, which computes shapes alone,
takes a fraction of a second for models of any size, and needs no memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.encoders import WindowSize, plain_window
from benchmarks.errors import UserError
from benchmarks.families import timm_model
from benchmarks.families.windows.position_tables import Size

REFUSALS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError)
"""What timm raises for arguments and images that a model does not take."""
ODD = ((161, 223), (130, 195))
"""Sizes of every remainder by 4, and next to multiples of 32: a model that takes these takes any."""

Run = Callable[[Tensor], Any]
T = TypeVar("T")


@dataclass(frozen=True)
class MapSizes:
    """The images of which a model makes maps. Others are padded with zeros, at the bottom and on the right."""

    step_px: int = 1
    """Sides are padded to a multiple of this."""
    only_px: int | None = None
    """The side of the square that every image is padded to, where the model takes one size alone."""

    def padded(self, images: Tensor) -> Tensor:
        """Return images [B, C, H, W], padded to a size that the model takes. Raises UserError for larger ones."""
        below, right = ((self.only_px or -(-side // self.step_px) * self.step_px) - side for side in images.shape[2:])
        if min(below, right) < 0:
            raise self.too_large(max(images.shape[2:]))
        return pad(images, (0, right, 0, below)) if below or right else images

    def too_large(self, side_px: int) -> UserError:
        """Return the error for images that are larger than the only size."""
        rule = f"at most image_size_px ({self.only_px}): this encoder takes images of the size it is built for alone"
        remedy = "a larger image_size_px; or for segmentation testing.mode=slide, for detection testing.longer_px=N"
        return UserError.about("the side of an image", side_px, rule, remedy)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know: how far images are padded, where that is more than a map's own stride asks for."""
        if self.only_px is not None:
            return (f"images are padded to {self.only_px} x {self.only_px} px: the encoder takes no other size",)
        if self.step_px > LARGEST_STRIDE_PX:
            return (f"images are padded to multiples of {self.step_px} px: the encoder takes no others",)
        return ()


LARGEST_STRIDE_PX = 32


def skeleton(model: nn.Module) -> Any:
    """Return a copy of a model in evaluation mode whose tensors have no values: its forward computes shapes alone.

    It is a copy since some of timm's models keep tensors that they make of an image's size.
    """
    hollow: dict[int, Any] = {}
    for tensor in model.parameters():
        hollow[id(tensor)] = nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
    for buffer in model.buffers():
        hollow[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, hollow).eval()


_REMEMBERED: dict[tuple[str, str], Any] = {}


def remembered(model: Any, what: str, find: Callable[[], T]) -> T:
    """Return what `find` finds out by running a model without values, once for all models that were built alike.

    A model that `build_backbone` did not build says nothing of how it was built; of it, `find` is asked every time.
    """
    built: str | None = getattr(model, "built_as", None)
    if built is None:
        return find()
    key = built, what
    if key not in _REMEMBERED:
        _REMEMBERED[key] = find()
    found: T = _REMEMBERED[key]
    return found


def used_by(model: nn.Module, run: Run, channels: int, side_px: int) -> frozenset[str]:
    """Return the names of the parameters of a skeleton that the tensors depend on which `run` returns."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    with torch.device("meta"):
        found = run(torch.empty(1, channels, side_px, side_px))
        torch.stack([each.sum() for each in found]).sum().backward()  # type: ignore[no-untyped-call]
    return frozenset(name for name, each in model.named_parameters() if each.grad is not None)


def find_sizes(run: Run, strides: Sequence[int], channels: int, built_px: int) -> MapSizes | None:
    """Return the images of which `run` makes maps [B, D, ceil(H/s), ceil(W/s)] for the strides s; None for none.

    `run` is that of a skeleton, which was built for images of a side `built_px` with so many `channels`.
    """

    def fits(height: int, width: int) -> bool:
        try:
            with torch.device("meta"), torch.no_grad():
                maps = run(torch.empty(1, channels, height, width))
        except REFUSALS:
            return False
        wanted = [(-(-height // stride), -(-width // stride)) for stride in strides]
        return [tuple(each.shape[2:]) for each in maps] == wanted

    if all(fits(*size) for size in ODD):
        return MapSizes()
    coarsest = max(strides)
    if built_px % coarsest == 0:
        for step in (coarsest, 2 * coarsest, built_px):
            if fits(5 * step, 3 * step) and fits(2 * step, 3 * step):
                return MapSizes(step)
    return MapSizes(coarsest, built_px) if fits(built_px, built_px) else None


def refusal(run: Run, channels: int, side_px: int) -> str | None:
    """Return None where a skeleton's `run` takes square images of a side, else what it says instead."""
    try:
        with torch.device("meta"), torch.no_grad():
            run(torch.empty(2, channels, side_px, side_px))
    except REFUSALS as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
    return None


class ModelSizes:
    """The images that a timm model takes, and the patches and windows it cuts them into; the base of `Family`."""

    takes_window: ClassVar[bool] = False
    """Whether timm's function that builds a model takes a `window_size`."""
    scales_offsets: ClassVar[bool] = False
    """Whether position biases are functions of offsets in units of `offset_windows`, which other windows must keep."""
    sizes_known: ClassVar[bool] = False
    """Whether `check_image_size` knows every size that timm's own forward refuses, so that no trial is needed."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model

    @property
    def patch_size_px(self) -> int:
        """The side of the patches that the model sees; 1 for one without patches of one size, as ConvNets are."""
        patch = getattr(getattr(self.model, "patch_embed", None), "patch_size", 1)
        return int(patch[0]) if isinstance(patch, tuple | list) else int(patch)

    @property
    def windows(self) -> tuple[Size, ...]:
        """Rows and columns of each stage's windows, as timm clipped them to its maps; empty without windows."""
        return ()

    @property
    def window_size(self) -> WindowSize | None:
        """The reference window of a windowed transformer, that of its first stage; None for others."""
        return plain_window(self.windows[0]) if self.windows else None

    @property
    def offset_windows(self) -> tuple[Size, ...]:
        """By stage, the window in whose units position biases measure offsets, where `scales_offsets`."""
        return ()

    def check_image_size(self) -> None:
        """Raise UserError where timm's own forward would be wrong, or refuse, at the size the model was built for."""
        embed = getattr(self.model, "patch_embed", None)
        size: Any = getattr(embed, "img_size", None)
        patch: Any = getattr(embed, "patch_size", None)
        known = isinstance(size, tuple) and isinstance(patch, tuple)
        if known and any(side % step for side, step in zip(size, patch, strict=True)):
            rule = f"a multiple of the patch size ({patch[0]} px)"  # timm would refuse at the first batch
            remedy = "another image_size_px or patch_size_px"
            raise UserError.about("image_size_px", plain_window(size), rule, remedy)
        self.check_windows()

    def refused_size(self, side_px: int) -> str | None:
        """Return None where timm's own forward takes square images of a side, else what it says instead."""
        find = lambda: refusal(skeleton(self.model), self.in_chans, side_px)  # noqa: E731
        return remembered(self.model, f"refused_size {side_px}", find)

    @property
    def built_px(self) -> int:
        """The side of the images that the model was built for, or of those timm names where it takes any."""
        return timm_model.built_px(self.model)

    @property
    def in_chans(self) -> int:
        """The number of channels of its images."""
        return timm_model.channels(self.model)

    @property
    def clip_step(self) -> int | None:
        """How many frames clips are a multiple of, where the model sees clips itself; None for one of images."""
        return None

    def check_windows(self) -> None:
        """Raise UserError where a map of the size the model was built for is no multiple of its window."""
