"""Semantic correspondence as a kind of task."""

from __future__ import annotations

from benchmarks.catalogue.task import Task
from benchmarks.config import Family
from benchmarks.errors import UserError
from benchmarks.runs.record import LoadReport, RunRecord
from benchmarks.verbs.command import require_root
from transfer.adapter import Asked, Trained, Transfer
from transfer.correspondence.data import Pairs, read_pairs
from transfer.correspondence.recipe import NearestPatchRecipe
from transfer.sources.source import Source


class CorrespondenceAdapter:
    """Keypoints carried over by the nearest patches of a frozen encoder."""

    recipe: Family[NearestPatchRecipe] = Family("protocol", {"nearest": NearestPatchRecipe}, default="nearest")
    config_field = None

    def missing_requirements(self) -> list[str]:
        return []

    def find_data(self, task: Task, recipe: NearestPatchRecipe) -> Pairs:
        root = require_root(recipe.data.root)
        task.provide(root)
        return read_pairs(root, recipe.data, task.num_classes)

    def test_set_alone(self, recipe: NearestPatchRecipe) -> NearestPatchRecipe:
        return recipe

    def would_load(self, recipe: NearestPatchRecipe, source: Source) -> LoadReport:
        from transfer.correspondence.nearest import would_load  # torch, only now that there is work

        return would_load(recipe, source)

    def trained(self, asked: Asked) -> Trained:
        rule = "an encoder, for correspondence: nothing of a model's head takes part in it"
        raise UserError.about("--model", asked.reference, rule, "mimbench transfer with --encoder")

    def problem(self, recipe: NearestPatchRecipe) -> None:
        """Return None: nothing is trained."""

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.correspondence.nearest import nearest_patches

        return nearest_patches(transfer)
