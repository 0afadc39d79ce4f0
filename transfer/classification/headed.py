"""Scoring a classifier that is trained already, with its own head and its own preprocessing."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks import ranks
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.device import choose_device, peak_memory_mb
from benchmarks.engine.evaluation import Walk
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.processes.parallel import divide
from benchmarks.engine.samples.images import Batch, ImageSamples
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.watch.stop import StopRequest
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from benchmarks.runs.folder import Run
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.augment import preprocessed
from transfer.classification.recipe import EvaluateRecipe
from transfer.encoder.encoder_plan import plan_encoder
from transfer.encoder.loading import load_encoder
from transfer.images.labelled import LabelledImages
from transfer.predictions.evaluation import Evaluation, Predictions, evaluate
from transfer.predictions.results import further_scores, scores_of, write_results
from transfer.run import open_transfer
from transfer.scores import declared, metric_values
from transfer.sources.headed import Headed


def evaluate_classifier(transfer: Transfer) -> RunRecord:
    """Score the source, which has a head, on the test images; return the completed record.

    Raises UserError for a source without a head, or with a head of other classes than the test images'; WorkFailed
    unless the whole model, its head included, came from the source.
    """
    recipe, source = transfer.work.config, transfer.source
    if not isinstance(source, Headed):
        remedy = f"mimbench evaluate {transfer.task.name} --model {source.use.reference}"
        raise UserError.about("protocol", recipe.protocol, "for models with a head, which this verb leaves out", remedy)
    _require_classes(source, len(transfer.data.classes), transfer)
    with joined():
        device = choose_device(recipe.inference)
        plan = plan_encoder(source, recipe)
        model = build_backbone(plan.architecture, recipe.image_size_px, num_classes=source.num_classes)
        assert source.read is not None, "random weights have no head"
        report = load_encoder(model, source.read(), source.source_format, recipe.table_resize, with_head=True)
        report = report.model_copy(update={"notes": source.notes()})
        model.to(device).eval()
        side, channels = recipe.image_size_px, plan.architecture.in_chans
        image = torch.zeros(1, channels, side, side, device=device)
        flops = forward_flops(model, lambda: model(image))
        if recipe.inference.sharded:
            divide(model, family_of(model).blocks(), device)
        with open_transfer(transfer, device, report, flops) as run, StopRequest():
            _measure(_Scoring(transfer, model, device, channels), run)
        return run.record


def _require_classes(source: Headed, classes: int, transfer: Transfer) -> None:
    if source.num_classes != classes:
        rule = f"as many as the test set has ({classes} in {transfer.data.root})"
        remedy = (
            "name the model that was trained on these classes; a test set with only some of the head's classes goes "
            "beside one with all: data.test_sets.NAME.root=FOLDER data.test_sets.NAME.scored_classes=own"
        )
        raise UserError.about("classes of the head", source.num_classes, rule, remedy)


class _Scoring:
    """Runs one model over test images."""

    def __init__(self, transfer: Transfer, model: torch.nn.Module, device: torch.device, channels: int) -> None:
        self.transfer, self.model, self.device, self.channels = transfer, model, device, channels
        self.recipe: EvaluateRecipe = transfer.work.config
        self.unreadable = Unreadable(self.recipe.data.max_unreadable)

    def measure(self, images: LabelledImages, title: str) -> Evaluation:
        transform = preprocessed(self.recipe.preprocessing, self.recipe.image_size_px)
        samples = ImageSamples(images.source, images.labels, transform, channels=self.channels, replace=False)
        walk = Walk(self.model, samples, self.device, self.recipe.inference, self.unreadable, bar=title)
        return evaluate(self._predict, walk)

    def _predict(self, batch: Batch) -> Predictions:
        logits: Tensor = self.model(batch.images)
        return Predictions(logits)


def _measure(scoring: _Scoring, run: Run) -> None:
    transfer, data = scoring.transfer, scoring.transfer.data
    found = scoring.measure(data.test, "test images")
    sets = data.test_sets.items()
    further = {name: further_scores(scoring.measure(each.images, name), each) for name, each in sets}
    if not ranks.is_main():
        return
    write_results(run.folder, found, data, further)
    run.complete(
        metrics=metric_values(transfer.task, (), scores_of(found, transfer) | declared(further, transfer.task)),
        peak_memory_mb=peak_memory_mb(scoring.device),
        data=run.record.data.model_copy(update={"unreadable": tuple(scoring.unreadable.names)}),
    )
