"""One detection run: an encoder with fresh heads, trained, evaluated, exported."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from torch import Tensor

from benchmarks import ranks
from benchmarks.engine.device import choose_device
from benchmarks.engine.loop import Loop, Problem
from benchmarks.engine.processes.exchange import gathered, joined
from benchmarks.engine.samples.loaders import steps_per_epoch
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.files import make_folder, write_atomically
from benchmarks.runs.folder import Run, RunFolder
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.detection.average_precision import Kind, average_precision, class_table, coco_results
from transfer.detection.data.coco import CocoSets
from transfer.detection.data.samples import Batch, Detections, EvaluationPictures, TrainingPictures
from transfer.detection.evaluate import search
from transfer.detection.models.build import build_detector
from transfer.detection.recipe import DetectionRecipe
from transfer.encoder.export import export_finetuned
from transfer.encoder.layer_decay import groups_around
from transfer.encoder.references import Source
from transfer.run import open_transfer
from transfer.scores import metric_values


@dataclass(frozen=True)
class Scored:
    """What a test set gave."""

    metrics: dict[str, float]
    table: str
    """A line for every category, as CSV."""


class Detection(Problem[Batch]):
    """Detection as a problem for the training loop."""

    def __init__(self, recipe: DetectionRecipe, source: Source, data: CocoSets, seed: int) -> None:
        self.recipe, self.data, self.seed = recipe, data, seed
        self.device = choose_device(recipe.training)
        self.masks = recipe.masks and data.has_masks
        self.built = build_detector(recipe, source, len(data.categories), self.masks, seed, self.device)
        self.model = self.detector = self.built.detector
        self.parameter_groups = groups_around(
            self.model, self.detector.encoder, recipe.training.weight_decay, recipe.layer_decay
        )
        self.unreadable = Unreadable(recipe.data.max_unreadable)
        """Among the test images; those among the training images are the loop's."""
        self.kinds: tuple[Kind, ...] = ("box", "mask") if self.masks else ("box",)
        self.found: list[Detections] = []
        """By the last evaluation."""
        self.scored: Scored | None = None

    def training_samples(self) -> TrainingPictures:
        recipe, normalisation = self.recipe, self.built.adapted.normalisation
        patience = recipe.data.max_unreadable
        return TrainingPictures(self.data.train, recipe.augmentation, normalisation, self.seed, patience, self.masks)

    def loss(self, batch: Batch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the sum of the losses, each a mean over what is drawn of this rank's images."""
        return self.detector.loss(batch)

    def evaluate(self, last: bool) -> dict[str, float]:  # noqa: ARG002 (the loop's protocol)
        """Return average precisions on the test set."""
        return self.measure().metrics

    def measure(self) -> Scored:
        """Evaluate on the test set. Raises WorkFailed when too many of its images are unusable."""
        pictures = EvaluationPictures(self.data.test, self.recipe.testing, self.built.adapted.normalisation)
        searched = search(self.detector, pictures, self.device, self.recipe.training)
        self.unreadable.note(searched.unreadable)
        self.found = searched.detections
        self.scored = gathered(self._score() if ranks.is_main() else None)[0]
        assert self.scored is not None
        return self.scored

    def _score(self) -> Scored:
        """Score the images that could be read: once for all ranks, since it takes minutes and gigabytes."""
        read, categories = {each.image_id for each in self.found}, self.data.categories
        pictures = [each for each in self.data.test if each.id in read]
        scores = [average_precision(pictures, categories, self.found, kind) for kind in self.kinds]
        metrics = {name: value for each in scores for name, value in each.metrics().items()}
        return Scored(metrics, class_table(categories, scores))


def detect(transfer: Transfer) -> RunRecord:
    """Train to the end of the recipe, from the last checkpoint of the run if there is one."""
    recipe: DetectionRecipe = transfer.work.config
    data: CocoSets = transfer.data
    steps_per_epoch(len(data.train), recipe.training.batch_size)  # refuses a batch larger than the data
    with joined():
        problem = Detection(recipe, transfer.source, data, transfer.work.seed)
        for note in data.notes if ranks.is_main() else ():
            print(f"note: {note}", file=sys.stderr)
        with open_transfer(transfer, problem.device, problem.built.load_report) as run:
            _train(problem, transfer, run)
        return run.record


def _train(problem: Detection, transfer: Transfer, run: Run) -> None:
    recipe, folder = problem.recipe, run.folder
    samples, every = problem.training_samples(), recipe.evaluate_every_steps
    loop = Loop(problem, samples, recipe.training, run, problem.seed, recipe.data.max_unreadable, every)
    progress = loop.train()
    scored = problem.scored or problem.measure()  # of a run that had only its files left to write
    if not ranks.is_main():
        return
    _write(problem, scored, folder)
    built, epochs = problem.built, recipe.training.epochs_seen(loop.per_epoch)
    manifest = export_finetuned(built.encoder, built.adapted, transfer, epochs, folder.encoder, run.record.run_id)
    unreadable = tuple(dict.fromkeys([*progress.unreadable, *problem.unreadable.names]))
    run.complete(
        **loop.summary(),
        metrics=metric_values(transfer.task, progress.evaluations),
        exported_sha256=manifest.sha256,
        data=run.record.data.model_copy(update={"unreadable": unreadable}),
    )


def _write(problem: Detection, scored: Scored, folder: RunFolder) -> None:
    """Write the last evaluation's table and, where they are wanted, its detections in COCO's format of results."""
    write_atomically(folder.classes, scored.table.encode())
    for kind in problem.kinds if problem.recipe.testing.save_predictions else ():
        rows = coco_results(problem.found, problem.data.categories, kind)
        make_folder(folder.predicted)
        write_atomically(folder.predicted / f"{kind}.json", json.dumps(rows).encode())
