"""What every detector can do, whatever its engine: give the losses of a batch, and find objects on images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transfer.detection.data.samples import Detections, PictureBatch, Target
from transfer.detection.models.box_masks import encoded_masks
from transfer.encoder.head_maps import HeadMaps

Size = tuple[int, int]
"""Height and width."""
PAD_TO_PX = 32
"""The coarsest stride of an encoder: maps of both engines then have the same sizes, each twice the next one's."""


@dataclass(frozen=True)
class Images:
    """Images of one batch, padded with zeros (the mean colour) at the bottom and the right to one size."""

    tensor: Tensor
    """[B, 3, H, W], H and W multiples of PAD_TO_PX, or both the side of a square."""
    sizes: list[Size]
    """The sizes of the images themselves."""

    @classmethod
    def padded(cls, images: list[Tensor], square_px: int | None = None) -> Images:
        """Put normalised images [3, h, w] of any sizes into one tensor, of squares where `square_px` is given."""
        sizes: list[Size] = [(image.shape[1], image.shape[2]) for image in images]
        height, width = (-(-max(sides) // PAD_TO_PX) * PAD_TO_PX for sides in zip(*sizes, strict=True))
        if square_px is not None:
            height = width = square_px
        tensor = images[0].new_zeros(len(images), 3, height, width)
        for row, image in zip(tensor, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]] = image
        return cls(tensor, sizes)


@dataclass(frozen=True)
class Found:
    """The objects that an engine finds on one image, in pixels of the image as it was given; best first."""

    boxes: Tensor
    """[N, 4] xyxy, px."""
    scores: Tensor
    """[N], 0 to 1."""
    labels: Tensor
    """[N] int64, from 0."""
    masks: Tensor | None
    """Probabilities [N, M, M] over each box; None without a mask head."""


class Detector(nn.Module, ABC):
    """An encoder's maps with the heads of one engine."""

    maps: HeadMaps
    square_px: int | None = None
    """The side of the squares that images are padded to; None: they are padded to multiples of PAD_TO_PX."""

    @abstractmethod
    def levels(self, images: Tensor) -> list[Tensor]:
        """Return the maps [B, C, ceil(H/s), ceil(W/s)], s = 4 to 64, that the heads see of images [B, 3, H, W]."""

    @abstractmethod
    def losses(self, images: Images, targets: list[Target]) -> dict[str, Tensor]:
        """Return the losses, to be summed, in training mode. Their random numbers come from torch's random state."""

    @abstractmethod
    def find(self, images: Images) -> list[Found]:
        """Return the objects found on each image, in evaluation mode."""

    @property
    def encoder(self) -> nn.Module:
        """The timm model inside."""
        return self.maps.encoder.backbone

    def forward(self, batch: PictureBatch) -> Tensor | list[Detections]:
        """Return the loss of a batch in training mode, what is found on its images in evaluation mode."""
        return self.loss(batch) if self.training else self.predict(batch)

    def loss(self, batch: PictureBatch) -> Tensor:
        """Return the sum of all losses of a batch."""
        found = self.losses(Images.padded(batch.images, self.square_px), batch.targets)
        return torch.stack([loss.float() for loss in found.values()]).sum()

    def predict(self, batch: PictureBatch) -> list[Detections]:
        """Return the objects found on the images of a batch, in pixels of the image files."""
        images = Images.padded(batch.images, self.square_px)
        found = self.find(images)
        return [
            at_own_size(each, size, target)
            for each, size, target in zip(found, images.sizes, batch.targets, strict=True)
        ]


def at_own_size(found: Found, size: Size, target: Target) -> Detections:
    """Return what was found on an image of `size`, scaled to the image file's size, without boxes that vanish there."""
    height, width = target.original_size
    scale = found.boxes.new_tensor([width / size[1], height / size[0]] * 2)
    limit = found.boxes.new_tensor([width, height] * 2)
    boxes = (found.boxes * scale).clamp(min=0).minimum(limit)
    there = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    boxes = boxes[there].cpu()
    masks = None if found.masks is None else encoded_masks(found.masks[there].float().cpu(), boxes, (height, width))
    return Detections(target.image_id, boxes, found.scores[there].cpu(), found.labels[there].cpu(), masks)
