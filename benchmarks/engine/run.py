"""The life of a run that trains, whatever is trained: from the check of its batch to its completed record."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn
from torch.distributed import is_initialized

from benchmarks.encoders import EncoderManifest
from benchmarks.engine.loop import Loop
from benchmarks.engine.problem import B, Problem
from benchmarks.engine.processes.exchange import joined, peers_in_words
from benchmarks.engine.processes.parallel import divide
from benchmarks.engine.samples.loaders import Samples, steps_per_epoch
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.families.blocks import recompute
from benchmarks.runs.folder import Run
from benchmarks.runs.record import MetricValue, RunRecord
from benchmarks.training.training import Training


@dataclass(frozen=True)
class Outcome:
    """What a finished training gives its record."""

    metrics: dict[str, MetricValue]
    exported: EncoderManifest | None
    """The manifest of the trained encoder; None where none was written."""


class TrainedProblem(Problem[B], Generic[B]):
    """A problem for the training loop, with what its run needs before and after."""

    training: Training
    seed: int
    unreadable: Unreadable
    """Unreadable files of the test set; the loop counts those of the training set, against the same limit."""
    left_out: Sequence[str] = ()
    """Files that were missing before anything was read, for the record."""

    @abstractmethod
    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Return the modules that make up most of one of `models`; each is computed again or divided as one.

        Raises UserError for an encoder whose blocks are not known.
        """

    @property
    def models(self) -> Sequence[nn.Module]:
        """The trained model, and others of the same form that are kept beside it."""
        return [self.model]

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of the model, which is in its place by then."""

    def check(self) -> None:
        """Raise UserError where the recipe's ways to train in less memory do not fit the model."""
        if self.training.sharded or self.training.activation_checkpointing:
            self.blocks(self.model)

    def place(self) -> None:
        """Apply the recipe's ways to train in less memory, then group the parameters, which dividing replaces."""
        if self.training.activation_checkpointing:
            for block in self.blocks(self.model):
                recompute(block)
        self.divided = self.training.sharded and is_initialized()
        if self.divided:
            for model in self.models:
                divide(model, self.blocks(model), self.device)
        self.parameter_groups = self.groups()

    @abstractmethod
    def training_samples(self) -> Samples[B]:
        """Return the samples to train on."""

    @abstractmethod
    def evaluation_interval(self, steps_per_epoch: int) -> int | None:
        """Return after how many steps the problem is evaluated; None where it never is."""

    def begin(self, loop: Loop[B], run: Run) -> None:
        """Prepare what depends on the length of the training; called before the first step."""

    @abstractmethod
    def finish(self, loop: Loop[B], run: Run) -> Outcome | None:
        """Measure what is still to be measured, write results, export; called on every rank after the last step.

        A run that has only files left to write comes here without an evaluation. Other ranks than the main one may
        return None.
        """


P = TypeVar("P", bound=TrainedProblem[Any])


def train(
    training: Training, samples: int, build: Callable[[], P], opened: Callable[[P], AbstractContextManager[Run]]
) -> RunRecord:
    """Train to the end of the recipe, from the last checkpoint of the run if there is one; return its record.

    `samples` is the number that `build`'s problem trains on; `opened` opens its run. Raises UserError, before anything
    is built, for a batch that the samples or the ranks do not allow.
    """
    steps_per_epoch(samples, training.batch_size, training.accumulate)
    with joined():
        problem = build()
        problem.check()
        with opened(problem) as run, peers_in_words():  # inside: the record has the same words
            _train(problem, run)
        return run.record


def _train(problem: TrainedProblem[Any], run: Run) -> None:
    problem.place()
    samples, training = problem.training_samples(), problem.training
    every = problem.evaluation_interval(steps_per_epoch(len(samples), training.batch_size, training.accumulate))
    loop = Loop(problem, samples, training, run, problem.seed, problem.unreadable.limit, every)
    with loop.log:
        problem.begin(loop, run)
        progress = loop.train()
        outcome = problem.finish(loop, run)
        if outcome is None:
            return
        unreadable = tuple(dict.fromkeys([*problem.left_out, *progress.unreadable, *problem.unreadable.names]))
        run.complete(
            **loop.summary(),
            metrics=outcome.metrics,
            exported_sha256=outcome.exported.sha256 if outcome.exported else None,
            data=run.record.data.model_copy(update={"unreadable": unreadable}),
        )
        loop.log.conclude(loop.step, {name: value.last for name, value in outcome.metrics.items()})
