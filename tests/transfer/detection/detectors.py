"""Small detectors of both engines, and batches for them."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor

from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture
from tests.support.random_weights import randomise
from transfer.detection.data.samples import PictureBatch, Target
from transfer.detection.models.build import engine_of
from transfer.detection.models.detector import Detector
from transfer.detection.recipe import DetectionRecipe
from transfer.encoder.dense import build_encoder
from transfer.encoder.head_maps import HeadMaps

SWIN = Architecture(
    name="swin_tiny_patch4_window7_224", arguments={"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
)
VIT = Architecture(name="vit_tiny_patch16_224", arguments={"embed_dim": 48, "depth": 2})
CLASSES = 5


def require_detectron2() -> None:
    """Skip, with the reason, where detectron2's sources are not on the path: no package index has them."""
    if importlib.util.find_spec("detectron2") is None:
        reason = "needs detectron2's sources: make test DETECTRON2=FOLDER"
        pytest.skip(reason, allow_module_level=True)
    importlib.import_module("detectron2.modeling")


def recipe(*overrides: str) -> DetectionRecipe:
    return load_recipe(DetectionRecipe, "transfer", "digit_boxes_finetune", overrides).config


def detector(recipe: DetectionRecipe, architecture: Architecture = SWIN, *, masks: bool = True) -> Detector:
    """Return a detector, in evaluation mode, with every parameter of its encoder moved off its initial value."""
    torch.manual_seed(0)
    maps = HeadMaps(build_encoder(architecture), recipe.fpn_channels)
    randomise(maps)
    return engine_of(recipe)(recipe, maps, CLASSES, masks).eval()


def batch(sizes: list[tuple[int, int]], objects: list[int], *, masks: bool = True) -> PictureBatch:
    """Return images (height, width) of noise, each with so many objects; their files are twice as large."""
    torch.manual_seed(1)
    images = [torch.randn(3, *size) for size in sizes]
    targets = [target(size, count, masks) for size, count in zip(sizes, objects, strict=True)]
    return PictureBatch(images, targets, [])


def target(size: tuple[int, int], objects: int, masks: bool = True) -> Target:
    height, width = size
    corners = torch.rand(objects, 2) * torch.tensor([width - 40.0, height - 40.0])
    boxes = torch.cat([corners, corners + 16 + 24 * torch.rand(objects, 2)], dim=1)
    shapes: Tensor | None = torch.zeros(objects, height, width, dtype=torch.bool) if masks else None
    if shapes is not None:
        for shape, (left, top, right, bottom) in zip(shapes, boxes.int().tolist(), strict=True):
            shape[top:bottom, left:right] = torch.rand(bottom - top, right - left) > 0.3
    return Target(boxes, torch.randint(CLASSES, (objects,)), shapes, 7, (2 * height, 2 * width))
