"""Detection and instance segmentation as a kind of task."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchmarks.catalogue.task import Task
from benchmarks.config import Config, Family
from benchmarks.errors import UserError
from benchmarks.runs.environment import versions
from benchmarks.runs.record import LoadReport, RunRecord
from benchmarks.verbs.command import require_root
from transfer.adapter import Asked, Trained, Transfer
from transfer.detection.data.coco import CocoSets, read_coco, read_test_coco
from transfer.detection.recipe import (
    DetectionRecipe,
    Engine,
    EvaluateDetectionRecipe,
    FrozenDetectionRecipe,
    TrainedDetectionRecipe,
)
from transfer.sources.source import Source

if TYPE_CHECKING:
    from transfer.detection.train import DetectorTraining

Recipe = TrainedDetectionRecipe | EvaluateDetectionRecipe
PACKAGES = ("pycocotools",)
"""What must be installed; faster-coco-eval, where it is installed too, computes the same scores faster."""


class DetectionAdapter:
    """Mask or Cascade Mask R-CNN, on torchvision or detectron2, fine-tuned or on a frozen encoder; scoring detectron2's
    own models."""

    recipe: Family[Config] = Family(
        "protocol",
        {"finetune": DetectionRecipe, "frozen": FrozenDetectionRecipe, "evaluate": EvaluateDetectionRecipe},
        default="finetune",
    )
    config_field = None

    def missing_requirements(self) -> list[str]:
        return sorted(set(PACKAGES) - versions(PACKAGES).keys())

    def find_data(self, task: Task, recipe: Recipe) -> CocoSets:
        scored = isinstance(recipe, EvaluateDetectionRecipe)
        require_engine("detectron2" if isinstance(recipe, EvaluateDetectionRecipe) else recipe.engine)
        task.provide(require_root(recipe.data.root))
        found = (read_test_coco if scored else read_coco)(recipe.data)
        if task.num_classes not in (None, len(found.categories)):
            rule = f"the {task.num_classes} categories of task {task.name}"
            remedy = "give the data set's own annotations, or take task coco_format, which takes any categories"
            field = f"data.{'test' if scored else 'train'}_annotations"
            raise UserError.about(field, f"{len(found.categories)} categories", rule, remedy)
        return found

    def test_set_alone(self, recipe: TrainedDetectionRecipe) -> TrainedDetectionRecipe:
        test = {"train_images": recipe.data.test_images, "train_annotations": recipe.data.test_annotations}
        return recipe.model_copy(update={"data": recipe.data.model_copy(update=test)})

    def would_load(self, recipe: TrainedDetectionRecipe, source: Source) -> LoadReport:
        from transfer.detection.models.build import encoder_of
        from transfer.encoder.model import on_meta

        return on_meta(lambda: encoder_of(recipe, source, 0).report)

    def trained(self, asked: Asked) -> Trained:
        require_engine("detectron2")
        from transfer.detection.headed import read_detector  # torch and detectron2, only now that there is work

        return read_detector(asked)

    def problem(self, recipe: Recipe) -> type[DetectorTraining[Any]] | None:
        from transfer.detection.train import Detection, FrozenDetection  # torch and the engine, now that there is work

        if isinstance(recipe, EvaluateDetectionRecipe):
            return None
        return FrozenDetection if isinstance(recipe, FrozenDetectionRecipe) else Detection

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import score_transfer, train_transfer

        if (problem := self.problem(transfer.work.config)) is not None:
            return train_transfer(transfer, problem)
        from transfer.detection.headed import ScoredDetector

        return score_transfer(transfer, ScoredDetector)


def require_engine(engine: Engine) -> None:
    """Raise UserError where the engine's own library cannot be imported. detectron2 is on no package index."""
    if engine != "detectron2":
        return
    try:
        importlib.import_module("detectron2.modeling")
    except ImportError as error:
        rule = f"a library that can be imported ({type(error).__name__}: {error})"
        remedy = (
            "git clone https://github.com/facebookresearch/detectron2, put the folder on PYTHONPATH, and "
            "pip install 'mimbench[detectron2]' for what it imports; `mimbench doctor` says what is missing"
        )
        raise UserError.about("engine", engine, rule, remedy) from None
