"""From a recipe and an encoder to a detector, with the proof of its weights."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.runs.record import LoadReport
from transfer.detection.models.detector import Detector
from transfer.detection.models.norms import on_device
from transfer.detection.recipe import DetectionRecipe
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.head_maps import HeadMaps
from transfer.encoder.model import build_dense_encoder
from transfer.sources.source import Source

ENGINES = {
    "torchvision": "transfer.detection.models.torchvision:TorchvisionDetector",
    "detectron2": "transfer.detection.models.detectron2:Detectron2Detector",
}


@dataclass(frozen=True)
class Built:
    """A detector and where its encoder comes from."""

    detector: Detector
    adapted: EncoderPlan
    """What the source's encoder has become."""
    load_report: LoadReport

    @property
    def encoder(self) -> nn.Module:
        return self.detector.encoder


def build_detector(
    recipe: DetectionRecipe, source: Source, num_classes: int, masks: bool, seed: int, device: torch.device
) -> Built:
    """Return the encoder with fresh heads on the device, with a mask head or without."""
    loaded = build_dense_encoder(recipe, source, recipe.drop_path_rate, seed)
    maps = HeadMaps(loaded.encoder, recipe.fpn_channels)
    detector = engine_of(recipe)(_for_device(recipe, device), maps, num_classes, masks)
    return Built(detector.to(device), loaded.plan, loaded.report)


def engine_of(recipe: DetectionRecipe) -> type[Detector]:
    """Return the class of a recipe's engine."""
    module, _, name = ENGINES[recipe.engine].partition(":")
    found: type[Detector] = getattr(importlib.import_module(module), name)
    return found


def _for_device(recipe: DetectionRecipe, device: torch.device) -> DetectionRecipe:
    """Return the recipe with norms that the device has."""
    norms = {name: on_device(norm, device) for name, norm in recipe.norm.model_dump().items()}
    return recipe.model_copy(update={"norm": recipe.norm.model_copy(update=norms)})
