"""Images on which several classes may stand, as a kind of task."""

from __future__ import annotations

from benchmarks.catalogue.task import Task
from benchmarks.config import Family
from benchmarks.errors import UserError
from benchmarks.runs.record import LoadReport, RunRecord
from benchmarks.verbs.command import require_root
from transfer.adapter import Asked, Trained, Transfer
from transfer.multilabel.data import MultilabelSets, read_multilabel
from transfer.multilabel.recipe import SvmRecipe
from transfer.sources.source import Source


class MultilabelAdapter:
    """A support vector machine for each class on a frozen encoder's features."""

    recipe: Family[SvmRecipe] = Family("protocol", {"svm": SvmRecipe}, default="svm")
    config_field = None

    def missing_requirements(self) -> list[str]:
        return []

    def find_data(self, task: Task, recipe: SvmRecipe) -> MultilabelSets:
        root = require_root(recipe.data.root)
        task.provide(root)
        return read_multilabel(root, recipe.data, task.num_classes)

    def test_set_alone(self, recipe: SvmRecipe) -> SvmRecipe:
        data = recipe.data.model_copy(update={"train_split": recipe.data.test_split})
        return recipe.model_copy(update={"data": data})

    def would_load(self, recipe: SvmRecipe, source: Source) -> LoadReport:
        from transfer.classification.frozen.frozen_run import would_load  # torch, only now that there is work

        return would_load(recipe, source)

    def trained(self, asked: Asked) -> Trained:
        rule = "a finished run of ours, for images with several classes: the heads of others are not read"
        raise UserError.about("--model", asked.reference, rule, "run the model's own library for its score")

    def problem(self, recipe: SvmRecipe) -> None:
        """Return None: nothing is trained through the encoder."""

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.multilabel.svm import support_vectors

        return support_vectors(transfer)
