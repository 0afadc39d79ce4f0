"""What all trainings that predict classes share, be it of images or of videos."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Generic

from benchmarks.engine.problem import B
from benchmarks.engine.samples.loaders import EvaluationSamples
from benchmarks.runs.folder import RunFolder
from benchmarks.text.progress import EvaluationLines
from transfer.predictions.evaluation import Evaluation, L, Predictions, evaluate
from transfer.predictions.results import scores_of, write_results
from transfer.run import TransferProblem


class Classifying(TransferProblem[B, Evaluation], Generic[B]):
    """A classifier as a problem for the training loop."""

    further: Mapping[str, Mapping[str, float]] = {}
    """The scores on further test sets, by the sets' names."""

    @abstractmethod
    def predict(self, batch: Any) -> Predictions:
        """Return the predictions for a batch of test samples, by the weights that are evaluated."""

    def predicted(self, samples: EvaluationSamples[L], one_by_one: EvaluationLines | None = None) -> Evaluation:
        """Return the evaluation of test samples, over which `walk` goes."""
        return evaluate(self.predict, self.walk(samples, one_by_one))

    def scores(self, found: Evaluation) -> dict[str, float]:
        """Return the task's metrics on the test set, and the loss there as `eval_loss`."""
        return {**scores_of(found, self.transfer), "eval_loss": found.loss}

    def write_results(self, folder: RunFolder) -> None:
        write_results(folder, self.final(), self.data, self.further)
