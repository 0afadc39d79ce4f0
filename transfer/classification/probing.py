"""What linear and attentive probes of images share: features that are computed once, and a grid's choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from torch import Tensor, nn

from benchmarks.engine.loop import Loop
from benchmarks.engine.run import Outcome
from benchmarks.engine.samples.images import Batch
from benchmarks.engine.samples.loaders import EvaluationSamples, Samples
from benchmarks.runs.folder import Run, RunFolder
from transfer.adapter import Transfer
from transfer.classification.classifier import ImageClassifying, R
from transfer.classification.frozen.extraction import FeatureStore
from transfer.encoder.features import FrozenEncoder, Summary, blocks_of
from transfer.images.labelled import LabelledImages
from transfer.predictions.evaluation import Evaluation
from transfer.predictions.held_out import GridMember, HeldOut, bounded, measured
from transfer.scores import write_csv


class Probing(ImageClassifying[R], Generic[R]):
    """Classifiers on what a frozen encoder gives, as a problem for the training loop.

    With a grid (`recipe.held_out`), one is chosen by held-out training images before each evaluation.
    """

    encoder: FrozenEncoder
    members: Sequence[GridMember] = ()
    """The classifiers, in the order of the model's outputs."""
    columns: tuple[str, ...]
    """Of grid.csv."""
    taken: Sequence[Summary]
    """What a row of kept features has in the place of an image."""
    scored = 0
    """The position of the classifier that is scored."""
    held_out: HeldOut | None = None
    """The latest choice from the grid."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        self.store: FeatureStore | None = None
        """What gives features once; None where every image has to be seen anew."""
        self._measured_on: dict[int, EvaluationSamples[Batch]] = {}

    def training_samples(self) -> Samples[Batch]:
        if self.store is None:
            return super().training_samples()
        return self.store.samples(self.data.train, self.taken, "training images", replace=True)

    def evaluation_samples(self, images: LabelledImages) -> EvaluationSamples[Batch]:
        if self.store is None:
            return super().evaluation_samples(images)
        if id(images) not in self._measured_on:  # of the data, which live as long as the problem
            title = "held-out images" if images is self.data.held_out else "test images"
            self._measured_on[id(images)] = self.store.samples(images, self.taken, title)
        return self._measured_on[id(images)]

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return blocks_of(self.encoder.backbone)

    def outputs(self, images: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.model(images)
        return found if self.recipe.held_out is None else [bounded(logits) for logits in found]

    def measure(self, test: LabelledImages | None = None) -> Evaluation:
        """Evaluate on the test set, or on a further one; a grid's member is chosen first, by held-out images alone."""
        if self.recipe.held_out is not None and (test is None or self.held_out is None):
            walk = self.walk(self.evaluation_samples(self.data.held_out))
            self.held_out = measured(self.members, walk, lambda batch: self.model(batch.images))
            self.scored = self.held_out.chosen
        return super().measure(test)

    def scores(self, found: Evaluation) -> dict[str, float]:
        """Return what every classification returns and, of a grid, the chosen member's `held_out_top1`."""
        chosen = {} if self.held_out is None else {"held_out_top1": self.held_out.top1[self.scored]}
        return {**super().scores(found), **chosen}

    def finish(self, loop: Loop[Batch], run: Run) -> Outcome | None:
        outcome = super().finish(loop, run)
        if self.held_out is not None:
            run.update(choice=self.held_out.as_record())
        if self.store is not None:
            run.update(features=self.store.use)
        return outcome

    def write_results(self, folder: RunFolder) -> None:
        super().write_results(folder)
        if self.held_out is not None:
            write_csv(folder.grid, self.columns, self.held_out.rows())
