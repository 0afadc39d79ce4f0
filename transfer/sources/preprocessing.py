"""How a trained model's test images are made, as the library states it that the model comes from.

This module is light to import. Interpolation is Pillow's, which filters when it shrinks, as all these libraries do for
their published accuracies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.config import Config
from benchmarks.encoders import IMAGENET_MEAN, IMAGENET_STD
from benchmarks.errors import UserError
from benchmarks.training.numbers import Count, Positive

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_BY_PILLOW_NUMBER: tuple[Interpolation | None, ...] = ("nearest", "lanczos", "bilinear", "bicubic", None, None)
"""Pillow's `Resampling`, by which Hugging Face's files name it; box and hamming have no place here."""
_SIMMIM_CROP = 224 / 256


class Preprocessing(Config):
    """How a test image becomes the model's input: resized, cropped in the centre to image_size_px, normalised."""

    resize_px: Count
    resize: Literal["shorter-side", "square"] = "shorter-side"
    """shorter-side keeps the image's shape, square does not; either becomes resize_px."""
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    """Of each channel, on a scale of 0 to 1."""


@dataclass(frozen=True)
class TestProtocol:
    """The preprocessing of a model's published accuracy, and where that is stated."""

    __test__ = False  # no test case of pytest's

    image_size_px: int
    preprocessing: Preprocessing
    stated_by: str
    published: Mapping[str, float]
    """The published scores in percent, by the metric's name, where the same place states them."""

    def in_words(self, image_size_px: int) -> str:
        """Return how images become `image_size_px` wide, and what states it: `resized to 256 px on ..."""
        how = self.at(image_size_px)
        sides = "on the shorter side" if how.resize == "shorter-side" else "on both sides"
        resized = f"resized to {how.resize_px} px {sides} ({how.interpolation})"
        return f"{resized}, cropped to {image_size_px} px: {self.stated_by}"

    def at(self, image_size_px: int) -> Preprocessing:
        """Return the preprocessing for images of another size, with the same share of each side cropped away."""
        resize_px = round(self.preprocessing.resize_px * image_size_px / self.image_size_px)
        return self.preprocessing.model_copy(update={"resize_px": resize_px})


def of_timm(config: Mapping[str, Any], stated_by: str) -> TestProtocol:
    """Return the protocol in timm's pretrained configuration. Source: timm `data/config.py`, `transforms_factory.py`.

    The size for tests is taken where there is one, as timm's `validate.py` does. Raises UserError for images that are
    not square, and for a border instead of a crop.
    """
    size = config.get("test_input_size") or config.get("input_size") or (3, 224, 224)
    crop = config.get("test_crop_pct") or config.get("crop_pct") or 0.875
    mode = config.get("crop_mode") or "center"
    if size[1] != size[2] or mode not in ("center", "squash"):
        rule = "square images, cropped in the centre"
        raise UserError.about(f"preprocessing in {stated_by}", f"{list(size)}, {mode}", rule, "use timm's validate.py")
    return TestProtocol(
        size[1],
        Preprocessing(
            resize_px=math.floor(size[1] / crop),
            resize="square" if mode == "squash" else "shorter-side",
            interpolation=_known(config.get("interpolation") or "bicubic", stated_by),
            mean=tuple(map(float, config.get("mean") or IMAGENET_MEAN)),
            std=tuple(map(float, config.get("std") or IMAGENET_STD)),
        ),
        stated_by,
        {},
    )


def of_huggingface(config: Mapping[str, Any], stated_by: str) -> TestProtocol:
    """Return the protocol in the preprocessor_config.json of transformers. Raises UserError for any unlike the above.

    Source: transformers `models/vit/image_processing_vit.py`, `models/deit/image_processing_deit.py`.
    """
    resized = config.get("size")
    cropped = config.get("crop_size") if config.get("do_center_crop") else None
    shorter = resized.get("shortest_edge") if isinstance(resized, dict) else None
    target = shorter or _square(resized)
    side = _square(cropped) if cropped else (None if shorter else target)
    number = config.get("resample", 2)
    interpolation = _BY_PILLOW_NUMBER[number] if number in range(len(_BY_PILLOW_NUMBER)) else None
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else None
    if not target or not side or interpolation is None or scale is None or not math.isclose(scale, 1 / 255):
        value = {"size": resized, "crop_size": cropped, "resample": number, "rescale_factor": scale}
        rule = "images resized to a size, cropped in the centre if at all, and scaled to 0 to 1"
        raise UserError.about(f"preprocessing in {stated_by}", str(value), rule, "add preprocessing={...} of your own")
    normalised = config.get("do_normalize", True)
    mean, std = (config["image_mean"], config["image_std"]) if normalised else ((0.0,) * 3, (1.0,) * 3)
    return TestProtocol(
        side,
        Preprocessing(
            resize_px=target,
            resize="shorter-side" if shorter else "square",
            interpolation=interpolation,
            mean=tuple(map(float, mean)),
            std=tuple(map(float, std)),
        ),
        stated_by,
        {},
    )


def of_torchvision(sha256: str) -> TestProtocol | None:
    """Return the protocol of a weights file that torchvision publishes, None for any other file.

    torchvision names its files by the first eight digits of their sha256, and keeps transform and accuracy beside them.
    """
    from torchvision.models import get_model_weights, list_models

    for name in list_models():
        for weights in get_model_weights(name):
            if f"-{sha256[:8]}.pth" in weights.url and (found := _of_weights(weights)) is not None:
                return found
    return None


def _of_weights(weights: Any) -> TestProtocol | None:
    transform = weights.transforms()
    if not hasattr(transform, "crop_size"):
        return None
    published = weights.meta.get("_metrics", {}).get("ImageNet-1K", {})
    named = {"acc@1": "top1", "acc@5": "top5"}
    return TestProtocol(
        transform.crop_size[0],
        Preprocessing(
            resize_px=transform.resize_size[0],
            interpolation=_known(transform.interpolation.value, str(weights)),
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        ),
        f"torchvision's {weights}",
        {named[name]: value for name, value in published.items() if name in named},
    )


def assumed(
    image_size_px: int, mean: tuple[float, ...], std: tuple[float, ...], *, squared: bool = False
) -> TestProtocol:
    """Return SimMIM's and Swin's protocol, for a file that says nothing of its own.

    With `squared` it is Swin's at 384 px: images become squares, and nothing is cropped (TEST.CROP: False).
    """
    if squared:
        how = Preprocessing(resize_px=image_size_px, resize="square", mean=mean, std=std)
    else:
        how = Preprocessing(resize_px=int(image_size_px / _SIMMIM_CROP), mean=mean, std=std)
    return TestProtocol(image_size_px, how, "", {})


def _square(size: Any) -> int | None:
    if isinstance(size, dict):
        return size["height"] if size.get("height") == size.get("width") else None
    return size if isinstance(size, int) else None


def _known(interpolation: str, stated_by: str) -> Interpolation:
    for known in _BY_PILLOW_NUMBER:
        if known is not None and known == interpolation:
            return known
    rule = f"one of {', '.join(filter(None, _BY_PILLOW_NUMBER))}"
    raise UserError.about(f"interpolation in {stated_by}", interpolation, rule, "add preprocessing.interpolation=...")
