"""Scoring a classifier that is trained already, with its own head and its own preprocessing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.evaluation import Walk
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.processes.parallel import divide
from benchmarks.engine.samples.images import Batch, ImageSamples
from benchmarks.families.table import family_of
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.augment import WithoutBorder, preprocessed
from transfer.classification.head_logits import logits_of
from transfer.classification.recipe import EvaluateRecipe
from transfer.encoder.encoder_plan import plan_encoder
from transfer.encoder.proof.loading import load_source
from transfer.images.labelled import LabelledImages
from transfer.predictions.evaluation import Evaluation, Predictions, evaluate
from transfer.predictions.results import further_scores, scores_of, write_results
from transfer.run import ScoredModel, score_transfer
from transfer.scores import declared
from transfer.sources.headed import Headed


def evaluate_classifier(transfer: Transfer) -> RunRecord:
    """Score the source, which has a head, on the test images; return the completed record.

    Raises UserError for a source without a head, or with a head that lacks the test images' classes; WorkFailed
    unless the whole model, its head included, came from the source.
    """
    return score_transfer(transfer, ScoredClassifier)


class ScoredClassifier(ScoredModel):
    """A classifier of images with its own head."""

    recipe: EvaluateRecipe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe, source = self.recipe, transfer.source
        assert isinstance(source, Headed), "as `mimbench evaluate` reads classifiers"
        where = str(transfer.data.root)
        self.logits_of = logits_of(source.num_classes, source.head_classes, transfer.data.classes, where)
        plan = plan_encoder(source, recipe)
        self.model = build_backbone(plan.architecture, recipe.image_size_px, num_classes=source.num_classes)
        report = load_source(self.model, source, recipe.table_resize, with_head=True)
        self.load_report = report.model_copy(update={"notes": (*report.notes, *self.logits_of.notes)})
        self.model.to(self.device).eval()
        self.channels = plan.architecture.in_chans
        self.flops = self._flops()
        if recipe.inference.sharded:
            divide(self.model, family_of(self.model).blocks(), self.device)

    def _flops(self) -> float:
        image = torch.zeros(1, self.channels, *(self.recipe.image_size_px,) * 2, device=self.device)
        return forward_flops(self.model, lambda: self.model(image))

    def flops_per_image(self) -> float:
        return self.flops

    def measure(self) -> Mapping[str, float]:
        data = self.data
        self.found = self._predicted(data.test, "test images")
        sets = data.test_sets.items()
        self.further = {name: further_scores(self._predicted(each.images, name), each) for name, each in sets}
        return scores_of(self.found, self.transfer) | declared(self.further, self.transfer.task)

    def _predicted(self, images: LabelledImages, title: str) -> Evaluation:
        how, side = self.recipe.preprocessing, self.recipe.image_size_px
        if images.test_crop is not None:
            how = how.model_copy(update={"resize_px": int(side / images.test_crop)})
        made = preprocessed(how, side)
        transform = WithoutBorder(images.border_px, made)
        samples = ImageSamples(images.source, images.labels, transform, channels=self.channels, replace=False)
        walk = Walk(self.model, samples, self.device, self.recipe.inference, self.unreadable, bar=title)
        return evaluate(self._predict, walk)

    def _predict(self, batch: Batch) -> Predictions:
        logits: Tensor = self.model(batch.images)
        return Predictions(self.logits_of(logits))

    def write_results(self, folder: RunFolder) -> None:
        write_results(folder, self.found, self.data, self.further)
