"""Training a classifier of videos on clips, and testing it on several views of each video."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import ranks
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.loop import Loop
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import LoadReport
from benchmarks.text.progress import EvaluationLines
from transfer.adapter import Transfer
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.predictions.classifying import Classifying
from transfer.predictions.evaluation import Evaluation, Predictions
from transfer.predictions.results import scores_of
from transfer.video.data.augment import Normalise, require_crop_fits
from transfer.video.data.samples import ClipBatch, ClipForm, TestViews, TrainingClips, Views
from transfer.video.data.videos import LabelledVideo
from transfer.video.model import build_video_model, groups_of
from transfer.video.recipe import TrainedVideoRecipe, VideoRecipe

R = TypeVar("R", bound=TrainedVideoRecipe)


class Built(NamedTuple):
    """A classifier of clips, the plan its encoder was built by, and the report of what was loaded into that."""

    model: nn.Module
    plan: EncoderPlan
    report: LoadReport


class ClipClassifying(Classifying[ClipBatch], Generic[R]):
    """A classifier of videos as a problem for the training loop; each protocol adds its model."""

    recipe: R

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        require_crop_fits(self.recipe.augmentation, self.recipe.image_size_px)
        built = self.build()
        self.plan, self.load_report = built.plan, built.report
        self.model = built.model.to(self.device)
        if (channels := self.plan.architecture.in_chans) != 3:
            raise UserError.about("in_chans", channels, "3 (videos are read as RGB)", "add in_chans=3")
        normalise = Normalise(self.plan.normalisation.mean, self.plan.normalisation.std)
        self.form = ClipForm(self.recipe.sampling, self.recipe.image_size_px, normalise, self.recipe.data.decoder)
        self.left_out = self.data.missing

    @abstractmethod
    def build(self) -> Built:
        """Return the classifier, with a fresh head."""

    def flops_per_image(self) -> float:
        """Return the FLOPs of a prediction for one view."""
        clip = self.form.blank(1).to(self.device, torch.float32)
        return forward_flops(self.model, lambda: self.model(clip))

    def training_samples(self) -> TrainingClips:
        augmentation, patience = self.recipe.augmentation, self.recipe.data.max_unreadable
        return TrainingClips(self.data.train, self.form, augmentation, self.seed, patience)

    def loss(self, batch: ClipBatch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the mean cross-entropy of a batch of clips, summed over classifiers."""
        losses = [functional.cross_entropy(logits.float(), batch.labels) for logits in self.outputs(batch.clips)]
        return sum(losses[1:], start=losses[0])

    def outputs(self, clips: Tensor) -> list[Tensor]:
        """Return the logits [B, classes] of every classifier that is trained, for clips [B, C, T, H, W]."""
        return [self.model(clips)]

    def scored(self, clips: Tensor) -> Tensor:
        """Return the logits [B, classes] of the classifier that is scored."""
        return self.outputs(clips)[0]

    def evaluate(self, last: bool) -> dict[str, float]:
        """Return the metrics on the test set: before the last epoch of one view if the recipe says so, else of all."""
        if last or self.recipe.views_along_the_way == "all":
            return super().evaluate(last)
        found = scores_of(self.measure("one"), self.transfer)
        return {f"{name}_one_view": value for name, value in found.items()}

    def measure(self, views: Literal["one", "all"] = "all") -> Evaluation:
        """Evaluate each test video by the mean probabilities of its views, or with "one" by a single centred clip."""
        samples = self.views_of(self.data.test, views)
        return self.predicted(samples, EvaluationLines("tested", len(samples), "videos"))

    def views_of(self, videos: Sequence[LabelledVideo], views: Literal["one", "all"]) -> TestViews:
        """Return videos as test samples, with all their views or with a single centred clip."""
        sampling = self.recipe.sampling
        if views == "one":
            sampling = sampling.model_copy(update={"test_clips": 1, "test_crops": 1})
        return TestViews(videos, replace(self.form, sampling=sampling))

    def predict(self, batch: Views) -> Predictions:
        """Return the logarithm [1, classes] of the mean probabilities of a video's views."""
        parts = torch.split(batch.views, self.recipe.views_at_once)
        return Predictions(mean_over_views([self.scored(part) for part in parts]))

    def conclude(self, folder: RunFolder) -> Mapping[str, float]:  # noqa: ARG002 (every rank's part of the files)
        return scores_of(self.final(), self.transfer)

    def evaluations(self, loop: Loop[ClipBatch]) -> Sequence[Mapping[str, float]]:
        """Return only the evaluations of all views, with which scores of one view cannot be compared."""
        return loop.progress.evaluations if self.recipe.views_along_the_way == "all" else ()


def mean_over_views(parts: Sequence[Tensor]) -> Tensor:
    """Return the logarithm [1, classes] of the mean probabilities of views, whose logits [V, classes] come in parts."""
    mean = torch.cat([part.float().softmax(dim=1) for part in parts]).mean(dim=0, keepdim=True)
    return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


class VideoClassifying(ClipClassifying[VideoRecipe]):
    """End-to-end fine-tuning as a problem for the training loop."""

    def build(self) -> Built:
        loaded = build_video_model(self.recipe, self.source, len(self.data.classes), self.seed)
        self.classifier = loaded.model
        return Built(loaded.model, loaded.plan, loaded.report)

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return self.classifier.encoder.blocks()

    def groups(self) -> list[dict[str, Any]]:
        return groups_of(self.classifier, self.recipe)

    def trained_encoder(self) -> nn.Module | None:
        """Return the encoder of images; None for a Video Swin, whose weights no longer fit images."""
        flat = self.classifier.encoder.flat
        if flat is None and ranks.is_main():
            print("note: no encoder is exported: weights with an axis of time do not fit images", file=sys.stderr)
        return flat
