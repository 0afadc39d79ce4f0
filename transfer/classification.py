"""Image classification, by fine-tuning."""

from __future__ import annotations

from benchmarks.record import RunRecord
from benchmarks.tasks import Task
from transfer.adapter import Transfer
from transfer.images.labelled import ClassificationSets
from transfer.images.read import read_classification_data
from transfer.recipe import FinetuneRecipe


class ClassificationAdapter:
    """Fine-tuning with SimMIM's recipe."""

    recipe = FinetuneRecipe

    def missing_requirements(self) -> list[str]:
        return []

    def find_data(self, task: Task, recipe: FinetuneRecipe) -> ClassificationSets:
        return read_classification_data(recipe.data, task.num_classes)

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.finetune import finetune  # torch, only now that there is work

        return finetune(transfer)
