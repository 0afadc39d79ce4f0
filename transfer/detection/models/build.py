"""Building a detector from a recipe and an encoder, with the proof of loading."""

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
from transfer.encoder.model import LoadedMaps, build_head_maps
from transfer.sources.source import Source

ENGINES = {
    "torchvision": "transfer.detection.models.torchvision:TorchvisionDetector",
    "detectron2": "transfer.detection.models.detectron2:Detectron2Detector",
}


@dataclass(frozen=True)
class Built:
    """A detector, and how its encoder was built and loaded."""

    detector: Detector
    adapted: EncoderPlan
    """The architecture that the recipe made of the source's encoder, and the normalisation of its images."""
    load_report: LoadReport

    @property
    def encoder(self) -> nn.Module:
        return self.detector.encoder


def build_detector(
    recipe: DetectionRecipe, source: Source, num_classes: int, masks: bool, seed: int, device: torch.device
) -> Built:
    """Return the encoder with fresh heads on the device, with a mask head where `masks` is True."""
    loaded = encoder_of(recipe, source, seed)
    detector = engine_of(recipe)(_for_device(recipe, device), loaded.maps, num_classes, masks)
    detector.square_px = recipe.image_size_px if recipe.pad_to_square else None
    return Built(detector.to(device), loaded.plan, loaded.report)


def encoder_of(recipe: DetectionRecipe, source: Source, seed: int) -> LoadedMaps:
    """Return the maps that the heads take. Raises UserError for an encoder that does not give them."""
    return build_head_maps(recipe, source, seed, longest_px=recipe.longest_px, channels=recipe.fpn_channels)


def engine_of(recipe: DetectionRecipe) -> type[Detector]:
    """Return the class of detectors of a recipe's engine."""
    module, _, name = ENGINES[recipe.engine].partition(":")
    found: type[Detector] = getattr(importlib.import_module(module), name)
    return found


def _for_device(recipe: DetectionRecipe, device: torch.device) -> DetectionRecipe:
    """Return the recipe with norms that work on the device."""
    norms = {name: on_device(norm, device) for name, norm in recipe.norm.model_dump().items()}
    return recipe.model_copy(update={"norm": recipe.norm.model_copy(update=norms)})
