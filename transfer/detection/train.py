"""Training and testing a detector: an encoder with fresh heads, its loss, and what it finds on the test images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.families.table import family_of
from benchmarks.runs.folder import RunFolder
from benchmarks.text.progress import EvaluationLines
from transfer.adapter import Transfer
from transfer.detection.average_precision import Kind
from transfer.detection.data.samples import EvaluationPictures, PictureBatch, TrainingPictures
from transfer.detection.models.build import build_detector
from transfer.detection.recipe import DetectionRecipe, FrozenDetectionRecipe, TrainedDetectionRecipe
from transfer.detection.scored import Scored, scored, write_found, write_scored
from transfer.encoder.layer_decay import groups_around
from transfer.run import TransferProblem

R = TypeVar("R", bound=TrainedDetectionRecipe)


class DetectorTraining(TransferProblem[PictureBatch, Scored], Generic[R]):
    """A detector as a problem for the training loop; each protocol adds what of it is trained."""

    recipe: R

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
        return scored(found, self.data, self.kinds)

    def scores(self, found: Scored) -> dict[str, float]:
        """Return the average precisions on the test set, in percent."""
        return found.metrics

    def write_results(self, folder: RunFolder) -> None:
        """Write the last evaluation's table and, where the recipe asks for them, its detections in COCO's format."""
        write_scored(folder, self.final(), self.data, self.kinds if self.recipe.testing.save_predictions else ())

    def save_predictions(self, folder: Path) -> None:
        """Search the test images and write what is found to a folder, in COCO's format."""
        write_found(folder, self.measure(), self.data, self.kinds)


class Detection(DetectorTraining[DetectionRecipe]):
    """End-to-end fine-tuning as a problem for the training loop."""

    def groups(self) -> list[dict[str, Any]]:
        encoder, weight_decay = self.detector.encoder, self.recipe.training.weight_decay
        return groups_around(self.model, encoder, weight_decay, self.recipe.layer_decay)

    def trained_encoder(self) -> nn.Module:
        return self.detector.encoder


class FrozenDetection(DetectorTraining[FrozenDetectionRecipe]):
    """A detector on a frozen encoder as a problem for the training loop."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        strides = self.detector.maps.encoder.strides
        self.feature = f"maps of strides {', '.join(str(each) for each in strides)}, before the encoder's last norm"

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, self.recipe.training.weight_decay)
