"""Semantic segmentation as a kind of task."""

from __future__ import annotations

import importlib

from benchmarks.catalogue.task import Task
from benchmarks.config import Config, Family
from benchmarks.errors import UserError
from benchmarks.runs.environment import versions
from benchmarks.runs.record import LoadReport
from benchmarks.verbs.command import require_root
from transfer.adapter import Asked, Trained
from transfer.protocols import OfProtocols, Protocols
from transfer.segmentation.data import Scenes, class_names, read_scenes
from transfer.segmentation.masks import MaskValues, own_values
from transfer.segmentation.recipe import (
    EvaluateSegmentationRecipe,
    KnnSegmentationRecipe,
    LinearSegmentationRecipe,
    SegmentationRecipe,
    TrainedSegmentationRecipe,
)
from transfer.sources.source import Source

Recipe = TrainedSegmentationRecipe | KnnSegmentationRecipe | EvaluateSegmentationRecipe
PACKAGES = ("onedl-mmcv", "onedl-mmengine", "onedl-mmsegmentation")

PROTOCOLS: Protocols = {
    "finetune": (SegmentationRecipe, "transfer.segmentation.train:Segmentation"),
    "linear": (LinearSegmentationRecipe, "transfer.segmentation.frozen.linear:LinearSegmentation"),
    "knn": (KnnSegmentationRecipe, "transfer.segmentation.frozen.knn:neighbouring_patches"),
    "evaluate": (EvaluateSegmentationRecipe, "transfer.segmentation.headed:score_segmenter"),
}


class SegmentationAdapter(OfProtocols):
    """Fine-tuning with UPerNet or the heads of a user's own mmsegmentation config; a linear layer or nearest neighbours
    on a frozen encoder; scoring a model with its heads."""

    recipe: Family[Config] = Family("protocol", {name: each for name, (each, _) in PROTOCOLS.items()}, "finetune")
    config_field = "mmseg_config"
    protocols = PROTOCOLS

    def missing_requirements(self) -> list[str]:
        return sorted(set(PACKAGES) - versions(PACKAGES).keys()) or _unloadable()

    def find_data(self, task: Task, recipe: Recipe) -> Scenes:
        data, root = recipe.data, require_root(recipe.data.root)
        train_split = None if isinstance(recipe, EvaluateSegmentationRecipe) else data.train_split
        task.provide(root)
        if task.num_classes is None:
            return read_scenes(root, train_split, data.test_split, own_values(data, root), own=True)
        for name in ("classes", "first_label", "ignore_value"):
            if (value := getattr(data, name)) is not None:
                rule = f"not given: the masks of task {task.name} are known"
                raise UserError.about(f"data.{name}", value, rule, "leave it out, or take task imagemasks")
        values = MaskValues(class_names(root, task.num_classes), first=1, ignored=0)
        return read_scenes(root, train_split, data.test_split, values)

    def test_set_alone(self, recipe: TrainedSegmentationRecipe) -> TrainedSegmentationRecipe:
        data = recipe.data.model_copy(update={"train_split": recipe.data.test_split})
        return recipe.model_copy(update={"data": data})

    def would_load(self, recipe: TrainedSegmentationRecipe | KnnSegmentationRecipe, source: Source) -> LoadReport:
        if isinstance(recipe, KnnSegmentationRecipe):
            from transfer.segmentation.frozen.knn import would_load

            return would_load(recipe, source)
        from transfer.encoder.model import on_meta
        from transfer.segmentation.model import encoder_of

        return on_meta(lambda: encoder_of(recipe, source, 0).report)

    def trained(self, asked: Asked) -> Trained:
        from transfer.segmentation.headed import read_segmenter  # torch, only now that there is work

        return read_segmenter(asked)


def _unloadable() -> list[str]:
    """Return what OpenCV, which mmcv needs, lacks of system libraries; only importing it shows that."""
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        return [f"a library for OpenCV ({error}; on Debian and Ubuntu: apt install libgl1)"]
    return []
