"""Training and testing a segmenter: an encoder with fresh heads, its loss, and the classes of test pixels."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.flops import forward_flops
from benchmarks.families.table import family_of
from benchmarks.files.atomic import write_atomically
from benchmarks.runs.folder import RunFolder
from benchmarks.text.progress import EvaluationLines
from transfer.adapter import Transfer
from transfer.encoder.layer_decay import groups_around
from transfer.run import TransferProblem
from transfer.segmentation.inference import segmented
from transfer.segmentation.model import build_segmenter, fit_batch_norms
from transfer.segmentation.plans.plan import Pipeline
from transfer.segmentation.recipe import SegmentationRecipe, TrainedSegmentationRecipe
from transfer.segmentation.samples import EvaluationScenes, SceneBatch, TrainingScenes
from transfer.segmentation.scores import Confusion

R = TypeVar("R", bound=TrainedSegmentationRecipe)


class TrainedSegmenter(TransferProblem[SceneBatch, Confusion], Generic[R]):
    """A segmenter as a problem for the training loop; each protocol adds what of it is trained."""

    recipe: R

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        self.segmenter = build_segmenter(recipe, self.source, len(self.data.classes), self.seed)
        self.plan, self.load_report = self.segmenter.adapted, self.segmenter.load_report
        self.notes = self.segmenter.plan.notes
        share = recipe.training.batch_size // ranks.world_size() // recipe.training.accumulate
        self.model: Any = fit_batch_norms(self.segmenter.model, self.device, share).to(self.device)

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return family_of(self.segmenter.encoder).blocks()

    def flops_per_image(self) -> float:
        """Return the FLOPs of a prediction for one training crop."""
        side = self.recipe.image_size_px
        crop = torch.zeros(1, 3, side, side, device=self.device)
        return forward_flops(self.model, lambda: self.model(crop, mode="tensor"))

    def training_samples(self) -> TrainingScenes:
        data, pipeline = self.data, self.segmenter.plan.train_pipeline
        return TrainingScenes(data.train, pipeline, data.values, self.seed, self.recipe.data.max_unreadable)

    def loss(self, batch: SceneBatch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the weighted sum of all heads' losses, each the mean over the crops' pixels."""
        data = {"inputs": batch.inputs, "data_samples": batch.data_samples}
        losses = self.model(**self.model.data_preprocessor(data, True), mode="loss")
        total: Tensor = self.model.parse_losses(losses)[0]
        return total

    def measure(self, pipelines: Sequence[Pipeline] = (), predictions: Path | None = None) -> Confusion:
        """Segment the test images at their masks' own resolution, at a single scale unless `pipelines` are given.

        With `predictions`, each prediction is written to that folder as NAME.png, numbered as the masks are. Raises
        WorkFailed where no test pixel has a class.
        """
        scenes = EvaluationScenes(self.data, pipelines or [self.segmenter.plan.test_pipeline])
        walk = self.walk(scenes, EvaluationLines("tested", len(scenes), "images"))
        return segmented(self.model, scenes, walk, predictions, fill=self.divided)

    def save_predictions(self, folder: Path) -> None:
        """Segment the test images and write each prediction to a folder as NAME.png."""
        self.measure(predictions=folder)

    def scores(self, found: Confusion) -> dict[str, float]:
        return found.metrics()

    def conclude(self, folder: RunFolder) -> Mapping[str, float]:
        """Evaluate at several scales where the recipe asks for it, and once more at one to write prediction files."""
        once, testing = {}, self.recipe.testing
        if scales := self.segmenter.plan.multi_scale:
            print(f"testing at {len(testing.multi_scale)} scales, mirrored too", file=sys.stderr)
            once["mIoU_ms"] = self.measure(scales).metrics()["mIoU"]
        if testing.save_predictions:
            self.last = self.measure(predictions=folder.predicted)
        self.final()
        return once

    def write_results(self, folder: RunFolder) -> None:
        write_atomically(folder.classes, self.final().table(self.data.classes).encode())


class Segmentation(TrainedSegmenter[SegmentationRecipe]):
    """End-to-end fine-tuning as a problem for the training loop."""

    def groups(self) -> list[dict[str, Any]]:
        encoder, weight_decay = self.segmenter.encoder, self.recipe.training.weight_decay
        return groups_around(self.model, encoder, weight_decay, self.recipe.layer_decay)

    def trained_encoder(self) -> nn.Module:
        return self.segmenter.encoder
