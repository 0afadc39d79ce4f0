"""Depth from single images as a kind of task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.catalogue.task import Task
from benchmarks.config import Family
from benchmarks.errors import UserError
from benchmarks.runs.record import LoadReport, RunRecord
from benchmarks.verbs.command import require_root
from transfer.adapter import Asked, Trained, Transfer
from transfer.depth.data import DepthSets, read_depths
from transfer.depth.recipe import LinearDepthRecipe
from transfer.sources.source import Source

if TYPE_CHECKING:
    from transfer.depth.train import LinearDepth


class DepthAdapter:
    """A linear layer on a frozen encoder, trained on images with depth maps."""

    recipe: Family[LinearDepthRecipe] = Family("protocol", {"linear": LinearDepthRecipe}, default="linear")
    config_field = None

    def missing_requirements(self) -> list[str]:
        return []

    def find_data(self, task: Task, recipe: LinearDepthRecipe) -> DepthSets:
        root = require_root(recipe.data.root)
        task.provide(root)
        return read_depths(root, recipe.data)

    def test_set_alone(self, recipe: LinearDepthRecipe) -> LinearDepthRecipe:
        data = recipe.data.model_copy(update={"train_list": recipe.data.test_list})
        return recipe.model_copy(update={"data": data})

    def would_load(self, recipe: LinearDepthRecipe, source: Source) -> LoadReport:
        from transfer.depth.model import maps_of  # torch, only now that there is work
        from transfer.encoder.model import on_meta

        return on_meta(lambda: maps_of(recipe, source, 0).report)

    def trained(self, asked: Asked) -> Trained:
        rule = "a finished run of ours, for tasks of depth: the heads of others are not read"
        raise UserError.about("--model", asked.reference, rule, "run the model's own library for its score")

    def problem(self, recipe: LinearDepthRecipe) -> type[LinearDepth]:  # noqa: ARG002 (there is one)
        from transfer.depth.train import LinearDepth

        return LinearDepth

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import train_transfer

        return train_transfer(transfer, self.problem(transfer.work.config))
