"""An image with its objects, to be resized, cropped, mirrored or pasted together; the geometry is torchvision's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F  # noqa: N812 (torchvision's own name for it)

from transfer.detection.data.doubts import SMALLEST_BOX_PX

NEAREST = InterpolationMode.NEAREST_EXACT
Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class View:
    """An image and the N objects on it."""

    image: Tensor
    """[3, H, W] uint8."""
    boxes: Tensor
    """[N, 4] float32: left, top, right, bottom, in pixels."""
    labels: Tensor
    """[N] int64."""
    masks: Tensor | None
    """[N, H, W] bool."""

    @property
    def size(self) -> Size:
        height, width = self.image.shape[-2:]
        return height, width

    def resized(self, size: Size) -> View:
        """Return the view in another size: the image bilinearly with antialiasing, masks by the nearest pixel."""
        if size == self.size:
            return self
        # as an image: torchvision resizes masks by its older rule, which shifts them by up to half a pixel
        masks = None if self.masks is None else F.resize(self.masks, list(size), NEAREST, antialias=False)
        image = F.resize(self.image, list(size), antialias=True)
        return View(image, F.resize(self._boxes(), list(size)), self.labels, masks)

    def mirrored(self) -> View:
        """Return the view with left and right exchanged."""
        masks = None if self.masks is None else F.horizontal_flip(tv_tensors.Mask(self.masks))
        return View(F.horizontal_flip(self.image), F.horizontal_flip(self._boxes()), self.labels, masks)

    def cropped(self, top: int, left: int, size: Size) -> View:
        """Return a part of the view. Objects outside it are dropped; boxes are clipped to it, or drawn around masks."""
        if size == self.size:
            return self
        masks = None if self.masks is None else F.crop(tv_tensors.Mask(self.masks), top, left, *size)
        cut = View(F.crop(self.image, top, left, *size), F.crop(self._boxes(), top, left, *size), self.labels, masks)
        return cut.with_boxes_of_masks().sound()

    def padded(self, size: Size, fill: tuple[int, ...]) -> View:
        """Return the view with a colour added to the right and below, up to `size`."""
        (height, width), (rows, columns) = self.size, size
        padding = [0, 0, columns - width, rows - height]
        masks = None if self.masks is None else F.pad(tv_tensors.Mask(self.masks), padding)
        return View(F.pad(self.image, padding, fill=list(fill)), self.boxes, self.labels, masks)

    def with_pasted(self, other: View) -> View:
        """Paste the objects of a view of the same size over this one, whose objects that are then hidden are dropped.

        Source: arXiv:2012.07177, without its optional blur of the edges.
        """
        assert self.masks is not None
        assert other.masks is not None
        assert self.size == other.size
        over = other.masks.any(dim=0)
        below = dataclasses.replace(self, masks=self.masks & ~over).with_boxes_of_masks().sound()
        assert below.masks is not None
        return View(
            torch.where(over, other.image, self.image),
            torch.cat([below.boxes, other.boxes]),
            torch.cat([below.labels, other.labels]),
            torch.cat([below.masks, other.masks]),
        )

    def with_boxes_of_masks(self) -> View:
        """Return the view with the smallest boxes around its masks, where it has masks; empty ones are dropped."""
        seen = self.visible()
        if seen.masks is None or not len(seen.masks):
            return seen
        corners = masks_to_boxes(seen.masks)
        corners[:, 2:] += 1  # the last pixel's far edge, where torchvision gives its near one
        return dataclasses.replace(seen, boxes=corners.float())

    def sound(self) -> View:
        """Return the view with boxes clipped to the image, without those of which less than a pixel's side is left."""
        boxes, valid = F.sanitize_bounding_boxes(F.clamp_bounding_boxes(self._boxes()), min_size=SMALLEST_BOX_PX)
        masks = None if self.masks is None else self.masks[valid]
        return View(self.image, boxes.as_subclass(Tensor), self.labels[valid], masks)

    def visible(self) -> View:
        """Return the view without objects whose mask has no pixel."""
        return self if self.masks is None else self.keep(self.masks.flatten(1).any(dim=1))

    def keep(self, which: Tensor) -> View:
        """Return the view with only the objects for which `which` [N] bool is True."""
        masks = None if self.masks is None else self.masks[which]
        return View(self.image, self.boxes[which], self.labels[which], masks)

    def _boxes(self) -> tv_tensors.BoundingBoxes:
        return tv_tensors.BoundingBoxes(self.boxes, format="XYXY", canvas_size=self.size)
