"""Training and testing a detector: an encoder with fresh heads, its loss, and what it finds on the test images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.processes.exchange import gathered
from benchmarks.engine.watch.progress import EvaluationLines
from benchmarks.families.table import family_of
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.runs.folder import RunFolder
from transfer.adapter import Transfer
from transfer.detection.average_precision import Kind, average_precision, class_table, coco_results
from transfer.detection.data.samples import Detections, EvaluationPictures, PictureBatch, TrainingPictures
from transfer.detection.models.build import build_detector
from transfer.detection.recipe import DetectionRecipe
from transfer.encoder.layer_decay import groups_around
from transfer.run import TransferProblem


@dataclass(frozen=True)
class Scored:
    """The result of one evaluation on the test set."""

    detections: list[Detections]
    """The detections on all readable test images, in their order."""
    metrics: dict[str, float]
    table: str
    """A line for every category, as CSV."""


class Detection(TransferProblem[PictureBatch, Scored]):
    """Detection as a problem for the training loop."""

    recipe: DetectionRecipe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe, self.notes = self.recipe, self.data.notes
        masks = recipe.masks and self.data.has_masks
        self.kinds: tuple[Kind, ...] = ("box", "mask") if masks else ("box",)
        built = build_detector(recipe, self.source, len(self.data.categories), masks, self.seed, self.device)
        self.model = self.detector = built.detector
        self.plan, self.load_report = built.adapted, built.load_report

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return family_of(self.detector.encoder).blocks()

    def groups(self) -> list[dict[str, Any]]:
        encoder, weight_decay = self.detector.encoder, self.recipe.training.weight_decay
        return groups_around(self.model, encoder, weight_decay, self.recipe.layer_decay)

    def training_samples(self) -> TrainingPictures:
        augmentation, patience = self.recipe.augmentation, self.recipe.data.max_unreadable
        masks, normalisation = "mask" in self.kinds, self.plan.normalisation
        return TrainingPictures(self.data.train, augmentation, normalisation, self.seed, patience, masks)

    def loss(self, batch: PictureBatch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the sum of the losses, each a mean over the anchors or proposals drawn on this rank's images."""
        loss: Tensor = self.model(batch)
        return loss

    def measure(self) -> Scored:
        """Search the test images one after the other, each at its own aspect ratio, and score what was found."""
        pictures = EvaluationPictures(self.data.test, self.recipe.testing, self.plan.normalisation)
        walk = self.walk(pictures, EvaluationLines("searched", len(pictures), "images"))
        found = {each.image_id: each for detections in walk.results(self.model) for each in detections}
        detections = [found[picture.id] for picture in self.data.test if picture.id in found]
        # Once for all ranks, since it takes minutes and gigabytes.
        metrics, table = gathered(self._scored(detections) if ranks.is_main() else ({}, ""))[0]
        return Scored(detections, metrics, table)

    def _scored(self, detections: list[Detections]) -> tuple[dict[str, float], str]:
        """Return the metrics and the table of the images that could be read."""
        read, categories = {each.image_id for each in detections}, self.data.categories
        pictures = [each for each in self.data.test if each.id in read]
        scores = [average_precision(pictures, categories, detections, kind) for kind in self.kinds]
        metrics = {name: value for each in scores for name, value in each.metrics().items()}
        return metrics, class_table(categories, scores)

    def scores(self, found: Scored) -> dict[str, float]:
        """Return the average precisions on the test set, in percent."""
        return found.metrics

    def write_results(self, folder: RunFolder) -> None:
        """Write the last evaluation's table and, where the recipe asks for them, its detections in COCO's format."""
        final = self.final()
        write_atomically(folder.classes, final.table.encode())
        for kind in self.kinds if self.recipe.testing.save_predictions else ():
            rows = coco_results(final.detections, self.data.categories, kind)
            make_folder(folder.predicted)
            write_atomically(folder.predicted / f"{kind}.json", json.dumps(rows).encode())

    def trained_encoder(self) -> nn.Module:
        return self.detector.encoder
