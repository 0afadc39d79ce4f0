"""Training a linear layer on a frozen encoder to estimate depth, and measuring it on whole test images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.engine.flops import forward_flops
from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import WorkFailed
from benchmarks.families.table import family_of
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.runs.folder import RunFolder
from benchmarks.text.progress import EvaluationLines
from transfer.adapter import Transfer
from transfer.depth.augment import NYU_BORDER_PX, Augment
from transfer.depth.losses import grouped_loss
from transfer.depth.model import Depther, DepthHead, estimated, maps_of
from transfer.depth.recipe import LinearDepthRecipe
from transfer.depth.samples import DepthBatch, EvaluationDepths, TrainingDepths, WholeDepth
from transfer.depth.scores import DepthScores, ImageScore, image_score
from transfer.run import TransferProblem

LARGEST = 65535
"""The largest value of a depth map's 16 bits."""


class LinearDepth(TransferProblem[DepthBatch, DepthScores]):
    """Linear depth as a problem for the training loop."""

    recipe: LinearDepthRecipe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        loaded = maps_of(self.recipe, self.source, self.seed)
        self.plan, self.load_report = loaded.plan, loaded.report
        self.maps, self.feature = loaded.maps, loaded.maps.in_words
        self.model = self.depther = Depther(loaded.maps, DepthHead(loaded.maps.channels, self.recipe)).to(self.device)

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return family_of(self.maps.encoder.backbone).blocks()

    def groups(self) -> list[dict[str, Any]]:
        """Return the head's parameters, all with weight decay, as in the original's AdamW."""
        return parameter_groups(self.model, self.recipe.training.weight_decay, decays=lambda _name, _parameter: True)

    @property
    def state(self) -> nn.Module:
        """The head without its encoder, which does not change."""
        return self.depther.head

    def flops_per_image(self) -> float:
        """Return the FLOPs of a prediction for one training crop."""
        crop = torch.zeros(1, 3, *self.recipe.crop_px, device=self.device)
        return forward_flops(self.model, lambda: self.model(crop))

    def training_samples(self) -> TrainingDepths:
        recipe = self.recipe
        border = NYU_BORDER_PX if recipe.border == "nyu" else None
        augment = Augment(recipe.augmentation, recipe.crop_px, border)
        return TrainingDepths(self.data, self.plan.normalisation, augment, self.seed, recipe.data.max_unreadable)

    def loss(self, batch: DepthBatch, step: int) -> Tensor:
        """Return the mean loss of groups of crops, whose depths are enlarged to the crops' size."""
        depths = self.model(batch.images)
        predicted = interpolate(depths.float(), batch.depths.shape[1:], mode="bilinear", align_corners=False)[:, 0]
        warming_up = step < self.recipe.loss_warmup_steps
        return grouped_loss(predicted, batch.depths, self.recipe.images_per_loss, warming_up=warming_up)

    def measure(self, predictions: Path | None = None) -> DepthScores:
        """Estimate the depth of the test images, whole; with `predictions`, write each to that folder as NAME.png.

        Raises WorkFailed where no test image has a depth that is scored.
        """
        samples = EvaluationDepths(self.data, self.plan.normalisation)

        def score(sample: WholeDepth) -> ImageScore | None:
            predicted = estimated(self.model, sample.image, self.recipe)
            if predictions is not None and not sample.unreadable and sample.depth.any():
                self._save(predictions / f"{self.data.name(self.data.test[sample.position])}.png", predicted)
            return image_score(sample.position, predicted, sample.depth, self.recipe)

        walk = self.walk(samples, EvaluationLines("tested", len(samples), "images"))
        found = sorted(each for each in walk.results(score) if each is not None)
        if not found:
            low, high = self.recipe.min_depth_m, self.recipe.max_depth_m
            rule = f"no test image has a depth between {low:g} and {high:g} m where scores are taken"
            raise WorkFailed(f"{rule}\n  remedy: check data.values_per_metre, max_depth_m and border")
        return DepthScores(found)

    def _save(self, path: Path, depths: Tensor) -> None:
        make_folder(path.parent)
        values = (depths * self.data.values_per_metre).round().clamp(0, LARGEST).cpu().numpy()
        Image.fromarray(values.astype(np.uint16)).save(path)

    def save_predictions(self, folder: Path) -> None:
        """Estimate the depth of the test images and write each prediction to a folder as NAME.png."""
        self.measure(folder)

    def scores(self, found: DepthScores) -> dict[str, float]:
        return found.metrics()

    def conclude(self, folder: RunFolder) -> Mapping[str, float]:
        if self.recipe.testing.save_predictions:
            self.last = self.measure(folder.predicted)
        return super().conclude(folder)

    def write_results(self, folder: RunFolder) -> None:
        names = [self.data.name(pair) for pair in self.data.test]
        write_atomically(folder.depths, self.final().table(names).encode())
