"""Image classification on folders of images, by fine-tuning."""

from __future__ import annotations

from benchmarks.record import RunRecord
from benchmarks.run_command import require_root
from benchmarks.tasks import Task
from transfer.adapter import Transfer
from transfer.image_folder import ImageFolders, read_image_folders
from transfer.recipe import FinetuneRecipe


class ClassificationAdapter:
    """Fine-tuning with SimMIM's recipe."""

    recipe = FinetuneRecipe
    config_field = None

    def missing_requirements(self) -> list[str]:
        return []

    def find_data(self, task: Task, recipe: FinetuneRecipe) -> ImageFolders:
        data = recipe.data
        root = require_root(data.root)
        task.provide(root)
        return read_image_folders(root, data.train_split, data.test_split, task.num_classes)

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.finetune import finetune  # torch, only now that there is work

        return finetune(transfer)
