"""One fine-tuning run: an encoder into a classifier, trained, evaluated, exported."""

from __future__ import annotations

import csv
import io

import torch
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.device import choose_device, device_name
from benchmarks.engine.distributed import joined
from benchmarks.engine.images import MODES, Batch, ImageSamples
from benchmarks.engine.loaders import evaluation_loader, steps_per_epoch
from benchmarks.engine.loop import Loop, Problem
from benchmarks.engine.optim import parameter_groups
from benchmarks.engine.seeding import derive, seed_all
from benchmarks.engine.unreadable import Unreadable
from benchmarks.errors import UserError
from benchmarks.files import write_atomically
from benchmarks.record import LoadReport, RunRecord, TaskUse
from benchmarks.run_command import first_record
from benchmarks.rundir import Run, open_run
from benchmarks.tasks import Task
from transfer.adapter import Transfer
from transfer.augment import mixing, test_transform, training_transform
from transfer.evaluate import Evaluation, evaluate
from transfer.export import export_finetuned
from transfer.image_folder import ImageFolders
from transfer.layer_decay import layers_of
from transfer.loading import load_encoder, random_report, require_complete
from transfer.recipe import FinetuneRecipe
from transfer.references import Source
from transfer.scores import metric_values


class Finetuning(Problem[Batch]):
    """Fine-tuning as a problem for the training loop."""

    def __init__(self, recipe: FinetuneRecipe, source: Source, data: ImageFolders, seed: int) -> None:
        self.recipe, self.source, self.data, self.seed = recipe, source, data, seed
        self.device = choose_device(recipe.training)
        self.model, self.load_report = build_classifier(recipe, source, len(data.classes), seed)
        self.model.to(self.device)
        self.parameter_groups = self._groups()
        self._mix = mixing(recipe.augmentation, len(data.classes))
        smoothing = recipe.augmentation.label_smoothing
        self._criterion: nn.Module = SoftTargetCrossEntropy() if self._mix else LabelSmoothingCrossEntropy(smoothing)
        self.unreadable = Unreadable(recipe.data.max_unreadable)
        """Among the test images; those among the training images are the loop's."""
        self.last: Evaluation | None = None

    def _groups(self) -> list[dict[str, object]]:
        decay, weight_decay = self.recipe.layer_decay, self.recipe.training.weight_decay
        if decay == 1.0:
            return parameter_groups(self.model, weight_decay)
        layers = layers_of(self.model)
        return parameter_groups(self.model, weight_decay, layers.of, layers.count, decay)

    def training_samples(self) -> ImageSamples:
        transform = training_transform(self.recipe, self.source.mean, self.source.std)
        train = self.data.train
        return ImageSamples(
            train.files,
            train.labels,
            transform,
            channels=self.source.use.architecture.in_chans,
            seed=self.seed,
            patience=self.recipe.data.max_unreadable,
        )

    def loss(self, batch: Batch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the (soft-target or smoothed) cross-entropy of a batch."""
        images, targets = self._mix(batch.images, batch.labels) if self._mix else (batch.images, batch.labels)
        loss: Tensor = self._criterion(self.model(images).float(), targets)
        return loss

    def evaluate(self) -> dict[str, float]:
        """Return the test metrics."""
        self.last = self.measure()
        return self.last.metrics()

    def measure(self) -> Evaluation:
        """Evaluate on the test set. Raises WorkFailed when too many of its images are unreadable."""
        recipe, test = self.recipe, self.data.test
        transform = test_transform(recipe, self.source.mean, self.source.std)
        channels = self.source.use.architecture.in_chans
        samples = ImageSamples(test.files, test.labels, transform, channels=channels, replace=False)
        training, pin = recipe.training, self.device.type == "cuda"
        loader = evaluation_loader(samples, training.batch_size, training.workers, pin)
        found = evaluate(self.model, loader, self.device, training)
        self.unreadable.note(found.unreadable)
        return found


def build_classifier(
    recipe: FinetuneRecipe, source: Source, num_classes: int, seed: int
) -> tuple[nn.Module, LoadReport]:
    """Return the encoder with a fresh head, and the proof of what was loaded into it."""
    architecture = source.architecture(recipe.window_size)
    if architecture.in_chans not in MODES:
        rule = f"one of {sorted(MODES)} (image files are read as grey or RGB)"
        raise UserError.about("in_chans", architecture.in_chans, rule, "another encoder")
    seed_all(derive(seed, "weights"))
    model = build_backbone(
        architecture, recipe.image_size_px, num_classes=num_classes, drop_path_rate=recipe.drop_path_rate
    )
    if source.read is None:
        return model, random_report(model)
    report = load_encoder(model, source.read(), source.source_format, recipe.table_resize)
    return model, report.model_copy(update={"notes": source.notes})


def finetune(transfer: Transfer) -> RunRecord:
    """Fine-tune to the end of the recipe, from the last checkpoint of the run if there is one."""
    work, source, task = transfer.work, transfer.source, transfer.task
    recipe: FinetuneRecipe = work.config
    steps_per_epoch(len(transfer.data.train.files), recipe.training.batch_size)  # refuses a batch larger than the data
    with joined():
        problem = Finetuning(recipe, source, transfer.data, work.seed)
        record = first_record(
            "transfer",
            work,
            device_name(problem.device),
            task=TaskUse(name=task.name, version=task.version),
            encoder=source.use,
            load_report=problem.load_report,
            image_size_px=recipe.image_size_px,
            parents=source.parents,
        )
        with open_run(work.folder, record, work.recipe.to_yaml()) as run:
            if source.read is not None:
                require_complete(problem.load_report, source.use.reference, problem.model)
            _train(problem, task, transfer, run)
        return run.record


def _train(problem: Finetuning, task: Task, transfer: Transfer, run: Run) -> None:
    recipe, folder = problem.recipe, run.folder
    samples = problem.training_samples()
    every = recipe.evaluate_every_epochs * steps_per_epoch(len(samples), recipe.training.batch_size)
    loop = Loop(problem, samples, recipe.training, run, problem.seed, recipe.data.max_unreadable, every)
    progress = loop.train()
    final = problem.last or problem.measure()  # resumed after the last step: only the files were missing
    if not ranks.is_main():
        return
    write_atomically(folder.predictions, _predictions(problem.data, final).encode())
    epochs = recipe.training.epochs_seen(loop.per_epoch)
    manifest = export_finetuned(problem.model, transfer, epochs, folder.encoder, run.record.run_id)
    unreadable = tuple(dict.fromkeys([*progress.unreadable, *problem.unreadable.names]))
    run.complete(
        **loop.summary(),
        metrics=metric_values(task, progress.evaluations),
        exported_sha256=manifest.sha256,
        data=run.record.data.model_copy(update={"unreadable": unreadable}),
    )


def _predictions(data: ImageFolders, final: Evaluation) -> str:
    """Return one CSV line per test image: its path below the root, its class, the predicted class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "predicted"])
    for position, label, predicted in torch.stack([final.positions, final.labels, final.predicted], dim=1).tolist():
        path = data.test.files[position].relative_to(data.root).as_posix()
        writer.writerow([path, data.classes[label], data.classes[predicted]])
    return text.getvalue()
