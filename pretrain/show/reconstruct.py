"""Masked images as pretraining runs reconstruct them: figures 4 to 6 of SimMIM (arXiv:2111.09886)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as images_of

from benchmarks.engine.samples.images import read_named
from benchmarks.engine.seeding import generator
from benchmarks.errors import UserError
from pretrain.method.masking import RandomMask, finer
from pretrain.method.objectives import Denormalise
from pretrain.recipe import PretrainRecipe
from pretrain.run.pretrained import Pretrained

OBJECT_SHARE = 0.75
"""The share of an object's squares that the first of `object_masks` hides, so that some of the object is left."""
GREY = 0.5
"""The value of hidden pixels in the picture of what the encoder sees, on a scale of 0 to 1."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Box:
    """Where the object is, in shares of the image's height and width."""

    top: float
    left: float
    bottom: float
    right: float


CENTRE = Box(0.25, 0.25, 0.75, 0.75)


@dataclass(frozen=True)
class Mask:
    """One mask [s, s] bool on squares (True = hidden), and its name."""

    name: str
    cells: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What one run predicts, and the image with that in the place of what was hidden: [H, W, C] of 0 to 1."""

    run: str
    predicted: Pixels
    mixed: Pixels


@dataclass(frozen=True)
class Row:
    """One mask of one image: [H, W, C] of 0 to 1."""

    mask: str
    original: Pixels
    masked: Pixels
    reconstructions: tuple[Reconstruction, ...]


def random_masks(sizes_px: Sequence[int], ratio: float, image_size_px: int, seed: int) -> Iterator[Mask]:
    """Yield one random mask for each size of masked patches."""
    for size in sizes_px:
        mask = RandomMask(mask_patch_size_px=size, mask_ratio=ratio)
        cells = mask.cells(1, image_size_px // size, generator(seed, "mask", size))[0]
        yield Mask(f"random {size} px, {ratio:g}", cells)


def object_masks(box: Box, size_px: int, image_size_px: int, seed: int) -> tuple[Mask, Mask]:
    """Return masks that hide most of the object's squares, and all of them: those whose centre lies in the box.

    Raises UserError where that is no square, or every one.
    """
    side = image_size_px // size_px
    centre = (torch.arange(side) + 0.5) / side
    rows, columns = (centre > box.top) & (centre < box.bottom), (centre > box.left) & (centre < box.right)
    whole = rows[:, None] & columns[None, :]
    count = int(whole.sum())
    if not 0 < count < side * side:
        rule = f"a part of the image's {side * side} squares of {size_px} px; this box covers {count}"
        raise UserError.about("--object", box, rule, "another box, or smaller --mask-patch-size")
    keys = torch.rand(side, side, generator=generator(seed, "object")).masked_fill(~whole, 2)
    hidden = torch.zeros_like(whole).flatten()
    hidden[keys.flatten().argsort()[: math.ceil(count * OBJECT_SHARE)]] = True
    return Mask(f"most of the object, {size_px} px", hidden.view_as(whole)), Mask(f"whole object, {size_px} px", whole)


def load(path: Path, recipe: PretrainRecipe) -> Tensor:
    """Return the centre square [C, S, S] of an image on a scale of 0 to 1. Raises UserError where it is unreadable."""
    size = recipe.image_size_px
    image = read_named(path, recipe.encoder.in_chans)
    tensor = images_of.to_dtype(v2.functional.to_image(image), torch.float32, scale=True)
    whole = v2.Resize(size, v2.InterpolationMode.BICUBIC, antialias=True)(tensor)
    square: Tensor = v2.CenterCrop(size)(whole)
    return square.clamp(0, 1)


def rows_of(image: Tensor, masks: Sequence[Mask], runs: Sequence[Pretrained], device: torch.device) -> Iterator[Row]:
    """Yield a row for each mask of an image [C, S, S] of 0 to 1."""
    for mask in masks:
        pixels = finer(mask.cells[None], image.shape[-1])[0]
        masked = torch.where(pixels, torch.tensor(GREY), image)
        predictions = tuple(_reconstruct(image, mask, pixels, run, device) for run in runs)
        yield Row(mask.name, _shown(image), _shown(masked), predictions)


@torch.inference_mode()
def _reconstruct(image: Tensor, mask: Mask, pixels: Tensor, run: Pretrained, device: torch.device) -> Reconstruction:
    config, method = run.recipe.config, run.method
    colours = Denormalise(config.data.mean, config.data.std, device)
    batch = images_of.normalize(image, list(config.data.mean), list(config.data.std))[None].to(device)
    patches = finer(mask.cells[None], image.shape[-1] // method.model.encoder.patch_size_px).to(device)
    predicted = method.objective.colours(method.model(batch, patches).float(), batch, colours)
    whole = functional.interpolate(predicted, size=image.shape[-2:], mode="nearest")[0].cpu()
    return Reconstruction(run.name, _shown(whole), _shown(torch.where(pixels, whole, image)))


def _shown(image: Tensor) -> Pixels:
    shown: Pixels = image.clamp(0, 1).permute(1, 2, 0).numpy().astype(np.float32)
    return shown
