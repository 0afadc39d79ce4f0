"""Transforms of images for classification: timm's training augmentation, SimMIM's test crop, mixup and cutmix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.data import Mixup, create_transform
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from benchmarks.engine.samples.images import ImageSamples, Transform
from transfer.classification.recipe import Augmentation, ClassificationRecipe, TrainedRecipe
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.images.labelled import LabelledImages
from transfer.sources.preprocessing import Preprocessing, TestProtocol


def training_transform(recipe: TrainedRecipe, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """Return timm's training transform: random crop, flip, RandAugment, normalisation and erasing, in its order."""
    augmentation = recipe.augmentation
    transform: Transform = create_transform(
        recipe.image_size_px,
        is_training=True,
        scale=augmentation.crop_scale,
        ratio=augmentation.crop_ratio,
        hflip=augmentation.horizontal_flip,
        color_jitter=augmentation.color_jitter or None,
        auto_augment=augmentation.auto_augment,
        interpolation=recipe.interpolation,
        mean=tuple(mean),
        std=tuple(std),
        re_prob=augmentation.erase_probability,
        re_mode=augmentation.erase_mode,
    )
    return transform


def test_transform(
    recipe: ClassificationRecipe,
    mean: Sequence[float],
    std: Sequence[float],
    own: TestProtocol | None = None,  # noqa: PT028 (no test of pytest's)
) -> Transform:
    """Return the test transform: resize (to 219 for 192, as in SimMIM), centre crop, normalisation.

    `own`: the encoder's, where the recipe leaves resize and crop to it.
    """
    data = recipe.data
    if own is not None:
        how = own.at(recipe.image_size_px).model_copy(update={"mean": tuple(mean), "std": tuple(std)})
        return preprocessed(how, recipe.image_size_px)
    how = Preprocessing(
        resize_px=int(recipe.image_size_px / data.test_crop),
        resize=data.test_resize,
        interpolation=data.test_interpolation or recipe.interpolation,
        mean=tuple(mean),
        std=tuple(std),
    )
    return preprocessed(how, recipe.image_size_px)


def preprocessed(how: Preprocessing, image_size_px: int) -> Transform:
    """Return the transform of a PIL image that `how` describes."""
    size = how.resize_px if how.resize == "shorter-side" else [how.resize_px] * 2
    transform: Transform = v2.Compose(
        [
            v2.Resize(size, interpolation=InterpolationMode(how.interpolation)),
            v2.CenterCrop(image_size_px),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(how.mean), list(how.std)),
        ]
    )
    return transform


@dataclass(frozen=True)
class WithoutBorder:
    """A transform of PIL images from which a border is cut off first; what is nothing but border stays as it is."""

    border_px: int
    transform: Transform

    def __call__(self, image: Any) -> Tensor:
        border, (width, height) = self.border_px, image.size
        whole = not border or min(width, height) <= 2 * border
        return self.transform(image if whole else image.crop((border, border, width - border, height - border)))


def test_samples(images: LabelledImages, recipe: ClassificationRecipe, plan: EncoderPlan) -> ImageSamples:
    """Return test images as the plan's encoder takes them; one that cannot be read is left out, and named."""
    made = test_transform(recipe, plan.normalisation.mean, plan.normalisation.std, plan.protocol)
    transform = WithoutBorder(images.border_px, made)
    return ImageSamples(images.source, images.labels, transform, channels=plan.architecture.in_chans, replace=False)


def mixing(augmentation: Augmentation, num_classes: int) -> Mixup | None:
    """Return timm's batch mixer, which also smooths labels; None when neither mixup nor cutmix is on."""
    if not augmentation.mixes:
        return None
    return Mixup(
        mixup_alpha=augmentation.mixup,
        cutmix_alpha=augmentation.cutmix,
        switch_prob=augmentation.mix_switch_probability,
        label_smoothing=augmentation.label_smoothing,
        num_classes=num_classes,
    )
