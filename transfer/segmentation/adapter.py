"""Semantic segmentation as a kind of task."""

from __future__ import annotations

import importlib

from benchmarks.catalogue.tasks import Task
from benchmarks.errors import UserError
from benchmarks.runs.command import require_root
from benchmarks.runs.environment import versions
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.segmentation.data import Scenes, read_scenes
from transfer.segmentation.recipe import SegmentationRecipe

PACKAGES = ("onedl-mmcv", "onedl-mmengine", "onedl-mmsegmentation")


class SegmentationAdapter:
    """Fine-tuning with UPerNet, or with the heads of a user's own mmsegmentation config."""

    recipe = SegmentationRecipe
    config_field = "mmseg_config"

    def missing_requirements(self) -> list[str]:
        return sorted(set(PACKAGES) - versions(PACKAGES).keys()) or _unloadable()

    def find_data(self, task: Task, recipe: SegmentationRecipe) -> Scenes:
        data = recipe.data
        if task.num_classes is None:
            raise UserError.about(
                "task", task.name, "a fixed number of classes", "give it in benchmarks/catalogue/tasks.py"
            )
        root = require_root(data.root)
        task.provide(root)
        return read_scenes(root, data.train_split, data.test_split, task.num_classes)

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import train_transfer  # torch and mmseg, only now that there is work
        from transfer.segmentation.train import Segmentation

        return train_transfer(transfer, Segmentation)


def _unloadable() -> list[str]:
    """Return what OpenCV, which mmcv needs, lacks of system libraries; only importing it shows that."""
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        return [f"a library for OpenCV ({error}; on Debian and Ubuntu: apt install libgl1)"]
    return []
