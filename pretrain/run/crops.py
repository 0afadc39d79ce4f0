"""Unlabelled images, cropped and normalised as SimMIM does."""

from __future__ import annotations

import torch
from torchvision.transforms import v2

from benchmarks.data.image_source import ImageSource
from benchmarks.engine.samples.images import ImageSamples
from pretrain.recipe import PretrainData, PretrainRecipe


def training_samples(recipe: PretrainRecipe, source: ImageSource, seed: int) -> ImageSamples:
    """Return the training images as samples [C, image_size_px, image_size_px]."""
    data = recipe.data
    transform = _transform(data, recipe.image_size_px)
    channels = recipe.encoder.in_chans
    return ImageSamples(source, None, transform, channels=channels, seed=seed, patience=data.max_unreadable)


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
