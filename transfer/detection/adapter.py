"""Detection and instance segmentation as a kind of task."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from benchmarks.catalogue.tasks import Task
from benchmarks.errors import UserError
from benchmarks.runs.command import require_root
from benchmarks.runs.environment import versions
from benchmarks.runs.record import LoadReport, RunRecord
from transfer.adapter import Transfer
from transfer.detection.data.coco import CocoSets, read_coco
from transfer.detection.recipe import DetectionRecipe
from transfer.sources.source import Source

if TYPE_CHECKING:
    from transfer.detection.train import Detection

PACKAGES = ("pycocotools",)
"""What must be installed; faster-coco-eval, where it is installed too, computes the same scores faster."""


class DetectionAdapter:
    """Fine-tuning with Mask R-CNN or Cascade Mask R-CNN, on torchvision or detectron2."""

    recipe = DetectionRecipe
    config_field = None

    def missing_requirements(self) -> list[str]:
        return sorted(set(PACKAGES) - versions(PACKAGES).keys())

    def find_data(self, task: Task, recipe: DetectionRecipe) -> CocoSets:
        require_engine(recipe)
        task.provide(require_root(recipe.data.root))
        found = read_coco(recipe.data)
        if task.num_classes not in (None, len(found.categories)):
            rule = f"the {task.num_classes} categories of task {task.name}"
            remedy = "give the data set's own annotations, or take task coco_format, which takes any categories"
            raise UserError.about("data.train_annotations", f"{len(found.categories)} categories", rule, remedy)
        return found

    def test_set_alone(self, recipe: DetectionRecipe) -> DetectionRecipe:
        test = {"train_images": recipe.data.test_images, "train_annotations": recipe.data.test_annotations}
        return recipe.model_copy(update={"data": recipe.data.model_copy(update=test)})

    def would_load(self, recipe: DetectionRecipe, source: Source) -> LoadReport:
        from transfer.detection.models.build import encoder_of
        from transfer.encoder.model import on_meta

        return on_meta(lambda: encoder_of(recipe, source, 0).report)

    def problem(self, recipe: DetectionRecipe) -> type[Detection]:  # noqa: ARG002 (one for all recipes)
        from transfer.detection.train import Detection  # torch and the engine, only now that there is work

        return Detection

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import train_transfer

        return train_transfer(transfer, self.problem(transfer.work.config))


def require_engine(recipe: DetectionRecipe) -> None:
    """Raise UserError where the engine's own library cannot be imported. detectron2 is on no package index."""
    if recipe.engine != "detectron2":
        return
    try:
        importlib.import_module("detectron2.modeling")
    except ImportError as error:
        rule = f"a library that can be imported ({type(error).__name__}: {error})"
        remedy = (
            "git clone https://github.com/facebookresearch/detectron2, put the folder on PYTHONPATH, and "
            "pip install 'mimbench[detectron2]' for what it imports; `mimbench doctor` says what is missing"
        )
        raise UserError.about("engine", recipe.engine, rule, remedy) from None
