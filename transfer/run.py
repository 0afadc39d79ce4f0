"""How the run of a transfer goes, for every kind of task alike: a kind adds its model, its samples and its score."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from benchmarks import ranks
from benchmarks.encoders import EncoderManifest
from benchmarks.engine.device import choose_device, device_name, peak_memory_mb
from benchmarks.engine.evaluation import Walk
from benchmarks.engine.loop import Loop
from benchmarks.engine.problem import B
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.run import Outcome, TrainedProblem, train
from benchmarks.engine.samples.loaders import AnyBatch, EvaluationSamples
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.watch.stop import StopRequest
from benchmarks.errors import UserError
from benchmarks.runs.folder import Run, RunFolder, open_run
from benchmarks.runs.record import LoadReport, RunRecord, TaskUse
from benchmarks.text.progress import EvaluationLines
from benchmarks.verbs.command import first_record
from transfer.adapter import Transfer
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.proof.loading import require_loaded
from transfer.encoder.sizes import EncoderSizes, given_by, normalisation_of, own_protocol
from transfer.export import export_finetuned
from transfer.scores import metric_values
from transfer.sources.source import Whole, use_of

S = TypeVar("S", bound=AnyBatch)
F = TypeVar("F")
"""The result of one evaluation; each kind of task has its own type for it."""


class TransferProblem(TrainedProblem[B], Generic[B, F]):
    """An encoder with a fresh head, trained on a task, in the form that the training loop takes.

    A kind of task derives from this class and gives the model (with its proof of loading), the samples, the loss and
    the evaluation.
    """

    load_report: LoadReport
    plan: EncoderPlan
    """The architecture that the recipe made of the source's encoder, and the normalisation of its images."""
    notes: Sequence[str] = ()
    """What the user should know of the data and the model; printed before the training."""
    feature: str | None = None
    """What is taken of a frozen encoder, in words; None where the encoder is trained."""

    def __init__(self, transfer: Transfer) -> None:
        self.transfer, self.source, self.data = transfer, transfer.source, transfer.data
        self.recipe: Any = transfer.work.config
        self.seed, self.training = transfer.work.seed, self.recipe.training
        self.device = choose_device(self.training)
        self.unreadable = Unreadable(self.recipe.data.max_unreadable)
        self.last: F | None = None
        """The result of the latest evaluation on the whole test set; None before the first."""

    def evaluation_interval(self, steps_per_epoch: int) -> int:
        """Return the number of steps between two evaluations, which the recipe gives in epochs or in steps."""
        epochs: int | None = getattr(self.recipe, "evaluate_every_epochs", None)
        every: int = self.recipe.evaluate_every_steps if epochs is None else epochs * steps_per_epoch
        return every

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated: the trained one, unless a kind of task evaluates an average of its weights."""
        return self.model

    def walk(self, samples: EvaluationSamples[S], one_by_one: EvaluationLines | None = None) -> Walk[S]:
        """Return a walk of the evaluated model over test samples; `one_by_one` prints how far it has come."""
        return Walk(self.evaluated, samples, self.device, self.training, self.unreadable, one_by_one)

    def flops_per_image(self) -> float | None:
        """Return the FLOPs of one prediction; None for a model whose cost depends on what it finds on an image."""
        return None

    @abstractmethod
    def measure(self) -> F:
        """Evaluate on the test set. Raises WorkFailed when too many of its files are unusable."""

    @abstractmethod
    def scores(self, found: F) -> dict[str, float]:
        """Return the scores of an evaluation by name; the task's metrics are among them."""

    def evaluate(self, last: bool) -> dict[str, float]:  # noqa: ARG002 (the loop's protocol)
        self.last = self.measure()
        return self.scores(self.last)

    def score_own_test_set(self) -> dict[str, float]:
        """Return the scores on the test set by the protocol of the last evaluation."""
        return self.scores(self.measure())

    def score_test_set(self, name: str) -> dict[str, float]:  # noqa: ARG002 (for those that read several)
        """Return the scores on a further test set: that of `data`, unless `data` has several and `name` says which."""
        return self.scores(self.measure())

    def final(self) -> F:
        """Return the evaluation after the last step.

        It is measured here where a continued run had already ended its training and only had files left to write.
        """
        if self.last is None:
            self.last = self.measure()
        return self.last

    def conclude(self, folder: RunFolder) -> Mapping[str, float]:  # noqa: ARG002 (for those that write from every rank)
        """Return the scores that are measured only once, after the training. Called on every rank."""
        self.final()
        return MappingProxyType({})

    @abstractmethod
    def write_results(self, folder: RunFolder) -> None:
        """Write the files with the results of the last evaluation beside the record."""

    def evaluations(self, loop: Loop[B]) -> Sequence[Mapping[str, float]]:
        """Return the evaluations made during the training, the best of which the record names."""
        return loop.progress.evaluations

    def trained_encoder(self) -> nn.Module | None:
        """Return the timm model to export; None where the encoder stayed frozen, or is no longer a timm model."""
        return None

    def finish(self, loop: Loop[B], run: Run) -> Outcome | None:
        once = self.conclude(run.folder)
        if ranks.is_main():
            self.write_results(run.folder)
        exported = self._export(loop, run)
        if self.feature is not None and ranks.is_main():
            run.update(feature=self.feature)
        if not ranks.is_main():
            return None
        return Outcome(metric_values(self.transfer.task, self.evaluations(loop), once), exported)

    def _export(self, loop: Loop[B], run: Run) -> EncoderManifest | None:
        encoder = self.trained_encoder()
        if encoder is None:
            return None
        epochs = self.training.epochs_seen(loop.per_epoch)
        return export_finetuned(encoder, self.plan, self.transfer, epochs, run.folder.encoder, run.so_far())


def train_transfer(transfer: Transfer, problem_type: type[TransferProblem[Any, Any]]) -> RunRecord:
    """Train to the end of the recipe, from the last checkpoint of the run if there is one; return the record."""
    return train(transfer.work.config.training, len(transfer.data.train), partial(problem_type, transfer), _opened)


@contextlib.contextmanager
def _opened(problem: TransferProblem[Any, Any]) -> Iterator[Run]:
    known = problem.source.notes(given_by(problem.recipe))  # which `transfer` has printed
    notes = dict.fromkeys([*problem.notes, *problem.load_report.notes])
    for note in (each for each in notes if ranks.is_main() and each not in known):
        print(f"note: {note}", file=sys.stderr)
    flops = problem.flops_per_image()
    trained = sum(each.numel() for each in problem.model.parameters() if each.requires_grad)
    with open_transfer(problem.transfer, problem.device, problem.load_report, flops, trained) as run:
        yield run


@contextlib.contextmanager
def open_transfer(
    transfer: Transfer,
    device: torch.device,
    report: LoadReport,
    flops_per_image: float | None = None,
    trained_parameters: int | None = None,
) -> Iterator[Run]:
    """Open the run of a transfer whose encoder was loaded as `report` says.

    `flops_per_image` is None for a model whose cost depends on what it finds on an image. Raises WorkFailed, and notes
    it in the record, unless the whole encoder came from the checkpoint or started from random weights.
    """
    work, source, task = transfer.work, transfer.source, transfer.task
    recipe: EncoderSizes = work.config
    record = first_record(
        "transfer",
        work,
        device_name(device),
        task=TaskUse(name=task.name, version=task.version),
        encoder=source.use,
        load_report=report,
        image_size_px=recipe.image_size_px,
        flops_per_image=flops_per_image,
        normalisation=None if isinstance(source, Whole) else use_of(normalisation_of(source, recipe)),
        test_images=None if (own := own_protocol(source, recipe)) is None else own.in_words(recipe.image_size_px),
        trained_parameters=trained_parameters,
        training_images=len(transfer.data.train),
        parents=source.parents,
    )
    with open_run(work.folder, record, work.recipe.to_yaml()) as run:
        if source.read is not None:
            require_loaded(report, source)
        yield run


class ScoredModel(ABC):
    """A model of others, with its head, that is run over test sets; nothing is trained.

    A kind of task derives from this class, gives the model with its proof of loading, and scores it.
    """

    model: nn.Module
    load_report: LoadReport

    def __init__(self, transfer: Transfer) -> None:
        self.transfer, self.data, self.recipe = transfer, transfer.data, transfer.work.config
        self.device = choose_device(self.recipe.inference)
        self.unreadable = Unreadable(self.recipe.data.max_unreadable)

    def flops_per_image(self) -> float | None:
        """Return the FLOPs of one prediction; None for a model whose cost depends on what it finds on an image."""
        return None

    @abstractmethod
    def measure(self) -> Mapping[str, float]:
        """Return the scores on all test sets, by the names of the task's metrics. Called on every rank."""

    @abstractmethod
    def write_results(self, folder: RunFolder) -> None:
        """Write the files with the results beside the record."""


def score_transfer(transfer: Transfer, model_type: type[ScoredModel]) -> RunRecord:
    """Score the source, which has a head, on the test samples; return the completed record.

    Raises UserError for a source without a head, WorkFailed unless the whole model came from the source.
    """
    if not isinstance(transfer.source, Whole):
        remedy = f"mimbench evaluate {transfer.task.name} --model {transfer.source.use.reference}"
        rule = "for models with a head, which this verb leaves out"
        raise UserError.about("protocol", "evaluate", rule, remedy)
    with joined():
        scored = model_type(transfer)
        flops = scored.flops_per_image()
        with open_transfer(transfer, scored.device, scored.load_report, flops) as run, StopRequest():
            scores = scored.measure()
            if ranks.is_main():
                scored.write_results(run.folder)
                run.complete(
                    metrics=metric_values(transfer.task, (), scores),
                    peak_memory_mb=peak_memory_mb(scored.device),
                    data=run.record.data.model_copy(update={"unreadable": tuple(scored.unreadable.names)}),
                )
        return run.record
