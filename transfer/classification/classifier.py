"""What all protocols that train a classifier of images share; each adds its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.samples.images import Batch, ImageSamples
from benchmarks.engine.samples.loaders import EvaluationSamples, Samples
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder
from transfer.adapter import Transfer
from transfer.classification.augment import mixing, test_samples, training_transform
from transfer.classification.recipe import TrainedRecipe
from transfer.images.labelled import LabelledImages
from transfer.predictions.classifying import Classifying
from transfer.predictions.evaluation import Evaluation, Predictions
from transfer.predictions.results import further_scores
from transfer.scores import declared

R = TypeVar("R", bound=TrainedRecipe)


class ImageClassifying(Classifying[Batch], Generic[R]):
    """A classifier of images as a problem for the training loop."""

    recipe: R

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        augmentation, self.classes = self.recipe.augmentation, len(self.data.classes)
        self._check_pairs()
        self._mix = mixing(augmentation, self.classes)
        smoothing = augmentation.label_smoothing
        self._criterion: nn.Module = SoftTargetCrossEntropy() if self._mix else LabelSmoothingCrossEntropy(smoothing)

    def _check_pairs(self) -> None:
        """Raise UserError where images are mixed in pairs, and a process takes an odd number of them at once."""
        training = self.recipe.training
        at_once = training.batch_size // ranks.world_size() // training.accumulate
        if self.recipe.augmentation.mixes and at_once % 2:
            rule = f"an even number of images in each pass of a process with mixup or cutmix (now {at_once})"
            remedy = "another batch_size, accumulate, or number of processes"
            raise UserError.about("training.batch_size", training.batch_size, rule, remedy)

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Return the logits [B, classes] of every classifier that is trained, for images [B, C, H, W]."""
        return [self.model(images)]

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(self.evaluated(batch.images))

    def flops_per_image(self) -> float:
        side, channels = self.recipe.image_size_px, self.plan.architecture.in_chans
        image = torch.zeros(1, channels, side, side, device=self.device)
        return forward_flops(self.model, lambda: self.evaluated(image))

    def training_samples(self) -> Samples[Batch]:
        train, plan = self.data.train, self.plan
        transform = training_transform(self.recipe, plan.normalisation.mean, plan.normalisation.std)
        channels, patience = plan.architecture.in_chans, self.recipe.data.max_unreadable
        return ImageSamples(train.source, train.labels, transform, channels=channels, seed=self.seed, patience=patience)

    def loss(self, batch: Batch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the cross-entropy of a batch, summed over classifiers, with mixed or smoothed labels as targets."""
        images, targets = self._mix(batch.images, batch.labels) if self._mix else (batch.images, batch.labels)
        losses: list[Tensor] = [self._criterion(logits.float(), targets) for logits in self.outputs(images)]
        return sum(losses[1:], start=losses[0])

    def measure(self, test: LabelledImages | None = None) -> Evaluation:
        return self.predicted(self.evaluation_samples(self.data.test if test is None else test))

    def evaluation_samples(self, images: LabelledImages) -> EvaluationSamples[Batch]:
        """Return the samples of images that a model is measured on."""
        return test_samples(images, self.recipe, self.plan)

    def score_test_set(self, name: str) -> dict[str, float]:
        test_set = self.data.test_sets[name]
        return further_scores(self.measure(test_set.images), test_set)

    def conclude(self, folder: RunFolder) -> Mapping[str, float]:
        """Evaluate on the further test sets too; return those of their scores that are metrics of the task."""
        super().conclude(folder)
        self.further = {name: self.score_test_set(name) for name in self.data.test_sets}
        return declared(self.further, self.transfer.task)
