"""Semantic segmentation as a kind of task."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from benchmarks.catalogue.tasks import Task
from benchmarks.errors import UserError
from benchmarks.runs.command import require_root
from benchmarks.runs.environment import versions
from benchmarks.runs.record import LoadReport, RunRecord
from transfer.adapter import Transfer
from transfer.segmentation.data import Scenes, class_names, read_scenes
from transfer.segmentation.masks import MaskValues, own_values
from transfer.segmentation.recipe import SegmentationRecipe
from transfer.sources.source import Source

if TYPE_CHECKING:
    from transfer.segmentation.train import Segmentation

PACKAGES = ("onedl-mmcv", "onedl-mmengine", "onedl-mmsegmentation")


class SegmentationAdapter:
    """Fine-tuning with UPerNet, or with the heads of a user's own mmsegmentation config."""

    recipe = SegmentationRecipe
    config_field = "mmseg_config"

    def missing_requirements(self) -> list[str]:
        return sorted(set(PACKAGES) - versions(PACKAGES).keys()) or _unloadable()

    def find_data(self, task: Task, recipe: SegmentationRecipe) -> Scenes:
        data, root = recipe.data, require_root(recipe.data.root)
        task.provide(root)
        if task.num_classes is None:
            return read_scenes(root, data.train_split, data.test_split, own_values(data, root), own=True)
        for name in ("classes", "first_label", "ignore_value"):
            if (value := getattr(data, name)) is not None:
                rule = f"not given: the masks of task {task.name} are known"
                raise UserError.about(f"data.{name}", value, rule, "leave it out, or take task imagemasks")
        values = MaskValues(class_names(root, task.num_classes), first=1, ignored=0)
        return read_scenes(root, data.train_split, data.test_split, values)

    def test_set_alone(self, recipe: SegmentationRecipe) -> SegmentationRecipe:
        data = recipe.data.model_copy(update={"train_split": recipe.data.test_split})
        return recipe.model_copy(update={"data": data})

    def would_load(self, recipe: SegmentationRecipe, source: Source) -> LoadReport:
        from transfer.encoder.model import on_meta
        from transfer.segmentation.model import encoder_of

        return on_meta(lambda: encoder_of(recipe, source, 0).report)

    def problem(self, recipe: SegmentationRecipe) -> type[Segmentation]:  # noqa: ARG002 (one for all recipes)
        from transfer.segmentation.train import Segmentation  # torch and mmseg, only now that there is work

        return Segmentation

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import train_transfer

        return train_transfer(transfer, self.problem(transfer.work.config))


def _unloadable() -> list[str]:
    """Return what OpenCV, which mmcv needs, lacks of system libraries; only importing it shows that."""
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        return [f"a library for OpenCV ({error}; on Debian and Ubuntu: apt install libgl1)"]
    return []
