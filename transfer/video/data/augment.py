"""Crops and normalisation of clips, the same for all frames of a clip, with torchvision's transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from benchmarks.errors import UserError
from transfer.video.data.recipe import ResizedCrop, ShortSideCrop, VideoAugmentation


@dataclass(frozen=True)
class Normalise:
    """Turns uint8 into the values that an encoder expects, by its mean and standard deviation."""

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, clips: Tensor) -> Tensor:
        """Return `clips` [..., C, T, H, W], 0 to 255, as float32 of the same shape."""
        mean, std = (clips.new_tensor(list(value), dtype=torch.float32) for value in (self.mean, self.std))
        scale, shift = (value[:, None, None, None] for value in (1 / (255 * std), mean / std))
        return clips * scale - shift


class TrainingTransform:
    """Random crop, resize and flip of a clip, drawn from torch's global generator."""

    def __init__(self, augmentation: VideoAugmentation, image_size_px: int) -> None:
        flip = v2.RandomHorizontalFlip(augmentation.horizontal_flip)
        self.change = v2.Compose([*_crop(augmentation.crop, image_size_px), flip])

    def __call__(self, frames: Tensor) -> Tensor:
        """Return [T, C, size, size] of frames [T, C, H, W] uint8, all changed in the same way."""
        changed: Tensor = self.change(tv_tensors.Video(frames)).as_subclass(Tensor)
        return changed


def require_crop_fits(augmentation: VideoAugmentation, image_size_px: int) -> None:
    """Raise UserError where clips would be cut from frames that are smaller than the cut."""
    crop, size = augmentation.crop, image_size_px
    if isinstance(crop, ShortSideCrop) and min(crop.shorter_side_px) < size:
        rule = f"at least image_size_px, {size}: a clip is cut from what it is resized to"
        remedy = f"augmentation.crop.shorter_side_px=[{size},{max(*crop.shorter_side_px, size)}]"
        raise UserError.about("augmentation.crop.shorter_side_px", list(crop.shorter_side_px), rule, remedy)


def _crop(crop: ResizedCrop | ShortSideCrop, size: int) -> list[v2.Transform]:
    # Bilinear without antialiasing, as Video-Swin's OpenCV.
    if isinstance(crop, ResizedCrop):
        return [v2.RandomResizedCrop(size, crop.scale, crop.ratio, antialias=False)]
    least, most = crop.shorter_side_px
    return [v2.RandomShortestSize(list(range(least, most + 1)), antialias=False), v2.RandomCrop(size)]


def test_crops(frames: Tensor, image_size_px: int, crops: int) -> list[Tensor]:
    """Return 1 or 3 squares [T, C, size, size] of frames [T, C, H, W] uint8, shorter side resized to the square's.

    A single one is the centre; three are the beginning, the centre and the end of the longer side, in this order.
    """
    size = image_size_px
    resized = functional.resize_video(frames, [size], antialias=False)
    height, width = resized.shape[-2:]
    across, down = (width - size) // 2, (height - size) // 2
    steps = (0, 1, 2) if crops == 3 else (1,)
    return [resized[..., step * down : step * down + size, step * across : step * across + size] for step in steps]
