"""One segmentation run: an encoder with fresh heads, trained, evaluated, exported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import ranks
from benchmarks.engine.device import choose_device
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.loop import Loop, Problem
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.samples.loaders import steps_per_epoch
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.files import write_atomically
from benchmarks.runs.folder import Run
from benchmarks.runs.record import MetricValue, RunRecord
from transfer.adapter import Transfer
from transfer.encoder.export import export_finetuned
from transfer.encoder.layer_decay import groups_around
from transfer.encoder.references import Source
from transfer.run import open_transfer
from transfer.scores import metric_values
from transfer.segmentation.data import Scenes
from transfer.segmentation.evaluate import Evaluation, evaluate
from transfer.segmentation.model import Segmenter, build_segmenter, fit_batch_norms
from transfer.segmentation.plan import Pipeline
from transfer.segmentation.recipe import SegmentationRecipe
from transfer.segmentation.samples import Batch, EvaluationScenes, TrainingScenes


class Segmentation(Problem[Batch]):
    """Semantic segmentation as a problem for the training loop."""

    def __init__(self, recipe: SegmentationRecipe, source: Source, data: Scenes, seed: int) -> None:
        self.recipe, self.data, self.seed = recipe, data, seed
        self.device = choose_device(recipe.training)
        self.segmenter: Segmenter = build_segmenter(recipe, source, len(data.classes), seed)
        share = recipe.training.batch_size // ranks.world_size()
        self.model: Any = fit_batch_norms(self.segmenter.model, self.device, share).to(self.device)
        self.parameter_groups = groups_around(
            self.model, self.segmenter.encoder, recipe.training.weight_decay, recipe.layer_decay
        )
        self.unreadable = Unreadable(recipe.data.max_unreadable)
        """Among the test images; those among the training images are the loop's."""
        self.last: Evaluation | None = None

    def flops_per_image(self) -> float:
        """Return the FLOPs of a prediction for one training crop."""
        side = self.recipe.image_size_px
        crop = torch.zeros(1, 3, side, side, device=self.device)
        return forward_flops(self.model, lambda: self.model(crop, mode="tensor"))

    def training_samples(self) -> TrainingScenes:
        data, pipeline = self.data, self.segmenter.plan.train_pipeline
        return TrainingScenes(data.train, pipeline, len(data.classes), self.seed, self.recipe.data.max_unreadable)

    def loss(self, batch: Batch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the weighted sum of all heads' losses, each the mean over the crops' pixels."""
        data = {"inputs": batch.inputs, "data_samples": batch.data_samples}
        losses = self.model.loss(**self.model.data_preprocessor(data, True))
        total: Tensor = self.model.parse_losses(losses)[0]
        return total

    def evaluate(self, last: bool) -> dict[str, float]:  # noqa: ARG002 (the loop's protocol)
        """Return the test metrics at a single scale."""
        self.last = self.measure([self.segmenter.plan.test_pipeline])
        return self.last.confusion.metrics()

    def measure(self, pipelines: list[Pipeline], predictions: Path | None = None) -> Evaluation:
        """Evaluate on the test set. Raises WorkFailed when too many of its images are unusable."""
        scenes = EvaluationScenes(self.data, pipelines)
        found = evaluate(self.model, scenes, self.device, self.recipe.training, predictions)
        self.unreadable.note(found.unreadable)
        return found


def segment(transfer: Transfer) -> RunRecord:
    """Train to the end of the recipe, from the last checkpoint of the run if there is one."""
    recipe: SegmentationRecipe = transfer.work.config
    steps_per_epoch(len(transfer.data.train), recipe.training.batch_size)  # refuses a batch larger than the data
    with joined():
        problem = Segmentation(recipe, transfer.source, transfer.data, transfer.work.seed)
        for note in problem.segmenter.plan.notes if ranks.is_main() else ():
            print(f"note: {note}", file=sys.stderr)
        with open_transfer(transfer, problem.device, problem.segmenter.load_report, problem.flops_per_image()) as run:
            _train(problem, transfer, run)
        return run.record


def _train(problem: Segmentation, transfer: Transfer, run: Run) -> None:
    recipe, folder = problem.recipe, run.folder
    samples, every = problem.training_samples(), recipe.evaluate_every_steps
    loop = Loop(problem, samples, recipe.training, run, problem.seed, recipe.data.max_unreadable, every)
    progress = loop.train()
    metrics = metric_values(transfer.task, progress.evaluations)
    if problem.segmenter.plan.multi_scale:
        metrics["mIoU_ms"] = _multi_scale(problem)
    final = _final(problem, folder.predicted)
    if not ranks.is_main():
        return
    write_atomically(folder.classes, final.confusion.table(problem.data.classes).encode())
    epochs = recipe.training.epochs_seen(loop.per_epoch)
    segmenter = problem.segmenter
    manifest = export_finetuned(
        segmenter.encoder, segmenter.adapted, transfer, epochs, folder.encoder, run.record.run_id
    )
    unreadable = tuple(dict.fromkeys([*progress.unreadable, *problem.unreadable.names]))
    run.complete(
        **loop.summary(),
        metrics=metrics,
        exported_sha256=manifest.sha256,
        data=run.record.data.model_copy(update={"unreadable": unreadable}),
    )


def _final(problem: Segmentation, predictions: Path) -> Evaluation:
    """Return the last step's evaluation; done again where predictions are wanted, or only the files were missing."""
    if problem.last is not None and not problem.recipe.testing.save_predictions:
        return problem.last
    folder = predictions if problem.recipe.testing.save_predictions else None
    return problem.measure([problem.segmenter.plan.test_pipeline], folder)


def _multi_scale(problem: Segmentation) -> MetricValue:
    print(f"testing at {len(problem.recipe.testing.multi_scale)} scales, mirrored too", file=sys.stderr)
    score = problem.measure(problem.segmenter.plan.multi_scale).confusion.metrics()["mIoU"]
    return MetricValue(last=score)
