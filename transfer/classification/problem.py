"""What every training for classification shares: samples, loss, evaluation. A protocol adds its model."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

import torch
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from benchmarks.encoders import EncoderManifest
from benchmarks.engine.device import choose_device
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.loop import Problem
from benchmarks.engine.samples.images import Batch, ImageSamples
from benchmarks.engine.samples.loaders import evaluation_loader
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import LoadReport
from transfer.adapter import Transfer
from transfer.classification.augment import mixing, test_transform, training_transform
from transfer.classification.evaluate import Evaluation, Predictions, evaluate
from transfer.classification.recipe import TrainedRecipe
from transfer.classification.results import scores_of
from transfer.encoder.adapted import Plan
from transfer.images.labelled import LabelledImages

R = TypeVar("R", bound=TrainedRecipe)


class ClassificationProblem(Problem[Batch], Generic[R]):
    """A classifier as a problem for the training loop."""

    load_report: LoadReport
    plan: Plan
    """What the source's encoder has become."""

    def __init__(self, transfer: Transfer) -> None:
        self.recipe: R = transfer.work.config
        self.transfer, self.source, self.data = transfer, transfer.source, transfer.data
        self.seed = transfer.work.seed
        self.device = choose_device(self.recipe.training)
        augmentation, self.classes = self.recipe.augmentation, len(self.data.classes)
        self._mix = mixing(augmentation, self.classes)
        smoothing = augmentation.label_smoothing
        self._criterion: nn.Module = SoftTargetCrossEntropy() if self._mix else LabelSmoothingCrossEntropy(smoothing)
        self.unreadable = Unreadable(self.recipe.data.max_unreadable)
        """Among the test images; those among the training images are the loop's."""
        self.last: Evaluation | None = None

    @abstractmethod
    def predict(self, images: Tensor) -> Predictions:
        """Return the predictions for images [B, C, H, W], by the weights that are evaluated."""

    @abstractmethod
    def outputs(self, images: Tensor) -> list[Tensor]:
        """Return the logits [B, classes] of every classifier that is trained."""

    def export(self, folder: Path, run_id: str, epochs: int) -> EncoderManifest | None:  # noqa: ARG002
        """Write the encoder to `folder` if it was trained, for `epochs`."""
        return None

    def write_results(self, folder: RunFolder, final: Evaluation) -> None:
        """Write what this protocol measures beside every protocol's scores."""

    def flops_per_image(self) -> float:
        """Return the FLOPs of one prediction."""
        side, channels = self.recipe.image_size_px, self.plan.architecture.in_chans
        image = torch.zeros(1, channels, side, side, device=self.device)
        return forward_flops(self.model, lambda: self.predict(image))

    def training_samples(self) -> ImageSamples:
        transform = training_transform(self.recipe, self.plan.normalisation.mean, self.plan.normalisation.std)
        train = self.data.train
        return ImageSamples(
            train.source,
            train.labels,
            transform,
            channels=self.plan.architecture.in_chans,
            seed=self.seed,
            patience=self.recipe.data.max_unreadable,
        )

    def loss(self, batch: Batch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the (soft-target or smoothed) cross-entropy of a batch, summed over classifiers."""
        images, targets = self._mix(batch.images, batch.labels) if self._mix else (batch.images, batch.labels)
        losses: list[Tensor] = [self._criterion(logits.float(), targets) for logits in self.outputs(images)]
        return sum(losses[1:], start=losses[0])

    def evaluate(self, last: bool) -> dict[str, float]:  # noqa: ARG002 (the loop's protocol)
        """Return the test metrics, and the loss there."""
        self.last = self.measure(self.data.test)
        return {**scores_of(self.last, self.transfer), "eval_loss": self.last.loss}

    def measure(self, test: LabelledImages) -> Evaluation:
        """Evaluate on a test set. Raises WorkFailed when too many of its images are unreadable."""
        transform = test_transform(self.recipe, self.plan.normalisation.mean, self.plan.normalisation.std)
        channels = self.plan.architecture.in_chans
        samples = ImageSamples(test.source, test.labels, transform, channels=channels, replace=False)
        training, pin = self.recipe.training, self.device.type == "cuda"
        loader = evaluation_loader(samples, training.batch_size, training.workers, pin)
        self.model.eval()
        found = evaluate(self.predict, loader, self.device, training)
        self.unreadable.note(found.unreadable)
        return found
