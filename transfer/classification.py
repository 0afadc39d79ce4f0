"""Image classification: fine-tuning, linear and attentive probes, nearest neighbours."""

from __future__ import annotations

import importlib

from benchmarks.config import Family
from benchmarks.record import RunRecord
from benchmarks.run_command import require_root
from benchmarks.tasks import Task
from transfer.adapter import Transfer
from transfer.image_folder import ImageFolders, read_image_folders
from transfer.recipe import AttentiveRecipe, ClassificationRecipe, FinetuneRecipe, KnnRecipe, LinearRecipe

PROTOCOLS: dict[str, tuple[type[ClassificationRecipe], str]] = {
    "finetune": (FinetuneRecipe, "transfer.finetune:finetune"),
    "linear": (LinearRecipe, "transfer.linear:linear_probe"),
    "attentive": (AttentiveRecipe, "transfer.attentive:attentive_probe"),
    "knn": (KnnRecipe, "transfer.knn:nearest_neighbours"),
}
"""The recipe of each protocol, and the function that carries it out."""


class ClassificationAdapter:
    """One data set, several protocols: the recipe names its own."""

    recipe = Family("protocol", {name: recipe for name, (recipe, _) in PROTOCOLS.items()}, default="finetune")

    def missing_requirements(self) -> list[str]:
        return []

    def find_data(self, task: Task, recipe: ClassificationRecipe) -> ImageFolders:
        data = recipe.data
        return read_image_folders(require_root(data.root), data.train_split, data.test_split, task.num_classes)

    def run(self, transfer: Transfer) -> RunRecord:
        module, _, name = PROTOCOLS[transfer.work.config.protocol][1].partition(":")
        record: RunRecord = getattr(importlib.import_module(module), name)(transfer)  # torch, only now
        return record
