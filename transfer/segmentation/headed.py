"""A segmentation model of mmsegmentation with its own heads: read with its config, and scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.encoders import Normalisation
from benchmarks.engine.evaluation import Walk
from benchmarks.errors import UserError
from benchmarks.files.atomic import write_atomically
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import RunRecord
from benchmarks.text.progress import EvaluationLines
from transfer.adapter import Asked, Trained, Transfer
from transfer.encoder.proof.loading import load_exactly
from transfer.run import ScoredModel, score_transfer
from transfer.segmentation.inference import segmented
from transfer.segmentation.model import built_segmentor
from transfer.segmentation.plans.literals import parse_config, read_config, require_values
from transfer.segmentation.plans.mmseg_parts import (
    LARGEST,
    LONGEST,
    checked_model,
    checked_pipeline,
    own_steps,
    restored,
)
from transfer.segmentation.plans.plan import PACK
from transfer.segmentation.plans.user_config import pipeline_of
from transfer.segmentation.recipe import EvaluateSegmentationRecipe, MmsegModel
from transfer.segmentation.samples import EvaluationScenes
from transfer.segmentation.scores import Confusion
from transfer.sources.whole import WholeFile, read_whole, whole_source

RECIPE = "ade20k_evaluate"
DERIVED = ("relative_position_index", "num_batches_tracked")
"""Tensors that follow from the sizes, or have no part in a prediction; a file may lack them."""


def read_segmenter(asked: Asked) -> Trained:
    """Read a checkpoint of mmsegmentation with the config that is given, or else with the one in the file.

    Raises UserError for a config that is no data, or names parts that are not built here.
    """
    asked.require_left_out("architecture", "head_classes", "weights", "prefix")
    file = read_whole(asked.reference)
    config, where = _config(file, asked)
    parts = {"model": config.get("model"), "test_pipeline": pipeline_of(config, "test_pipeline")}
    for name, part in parts.items():
        if not part:
            rule = f"a complete config of mmsegmentation 1.x ({', '.join(parts)})"
            raise UserError.about(name, f"(not in {where})", rule, "add --config FILE with the whole config")
        require_values(part, name)
    model, pipeline = checked_model(parts["model"]), checked_pipeline(parts["test_pipeline"])
    mmseg = {"model": model, "test_pipeline": pipeline, "classes": _classes(file)}
    name = str(restored(model["backbone"]).get("type"))
    source = whole_source(
        file, asked.reference, "mmsegmentation", name, _normalisation(model), asked.label, asked.said.stage
    )
    stated = (f"image_size_px={_image_size_px(model, pipeline)}", f"mmseg={json.dumps(mmseg)}")
    return Trained(source, RECIPE, stated, stated_by=where)


def _config(file: WholeFile, asked: Asked) -> tuple[dict[str, Any], str]:
    if asked.config is not None:
        return read_config(asked.config), str(asked.config)
    text = file.text("meta", "cfg")
    if text is None:
        rule = "the config of the model, which this file does not hold (mmsegmentation 1.x writes it to meta.cfg)"
        raise UserError.about("--config", "(not given)", rule, "add --config FILE (.py, .yaml, .json)")
    where = f"meta.cfg of {file.path}"
    return parse_config(text, where), where


def _classes(file: WholeFile) -> list[str] | None:
    """Return the names of the model's classes, where the file has them."""
    found = file.value("meta", "dataset_meta", "classes")
    plain = isinstance(found, list | tuple) and 0 < len(found) <= LARGEST
    return [str(each)[:LONGEST] for each in found] if plain and isinstance(found, list | tuple) else None


def _normalisation(model: Mapping[str, Any]) -> Normalisation:
    """Return mean and standard deviation of red, green and blue on a scale of 0 to 1, for the record."""
    preprocessor = restored(model["data_preprocessor"])
    mean, std = preprocessor.get("mean") or [0.0] * 3, preprocessor.get("std") or [1.0] * 3
    return Normalisation(tuple(each / 255 for each in mean), tuple(each / 255 for each in std))


def _image_size_px(model: Mapping[str, Any], pipeline: Sequence[Mapping[str, Any]]) -> int:
    """Return the side of the windows, or else of the shorter side to which images are resized, for the record."""
    window = (restored(model.get("test_cfg")) or {}).get("crop_size")
    scale = next((step["scale"] for step in own_steps(pipeline) if "scale" in step), None)
    size = window or scale or 0
    return int(min(size)) if isinstance(size, list | tuple) else int(size)


class ScoredSegmenter(ScoredModel):
    """A segmentor of mmsegmentation with its own heads."""

    recipe: EvaluateSegmentationRecipe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        source, mmseg = transfer.source, self.recipe.mmseg
        assert source.read is not None, "random weights have no head"
        model = restored(checked_model(restored(mmseg.model)))
        _require_classes(mmseg, model, transfer)
        self.model: Any = built_segmentor(model)
        self.load_report = load_exactly(self.model, source.read(), source.source_format, DERIVED).model_copy(
            update={"notes": source.notes()}
        )
        self.model.to(self.device).eval()

    def measure(self) -> Mapping[str, float]:
        pipeline = [*own_steps(checked_pipeline(restored(self.recipe.mmseg.test_pipeline))), PACK]
        scenes = EvaluationScenes(self.data, [pipeline])
        lines = EvaluationLines("tested", len(scenes), "images")
        walk = Walk(self.model, scenes, self.device, self.recipe.inference, self.unreadable, lines)
        folder = self.transfer.work.folder.predicted if self.recipe.save_predictions else None
        self.found: Confusion = segmented(self.model, scenes, walk, folder)
        return self.found.metrics()

    def write_results(self, folder: RunFolder) -> None:
        write_atomically(folder.classes, self.found.table(self.data.classes).encode())


def score_segmenter(transfer: Transfer) -> RunRecord:
    """Score a segmentor with its own heads; return the completed record. Raises as `score_transfer` does."""
    return score_transfer(transfer, ScoredSegmenter)


def _require_classes(recipe: MmsegModel, model: Mapping[str, Any], transfer: Transfer) -> None:
    """Raise UserError unless the head that predicts has the test set's classes, as far as names show in their order."""
    heads, classes, root = model["decode_head"], transfer.data.classes, transfer.data.root
    head = heads[-1] if isinstance(heads, list | tuple) else heads
    if head.get("num_classes") != len(classes):
        rule = f"as many as the test set has ({len(classes)} in {root})"
        remedy = "name the model that was trained on these classes, or the task whose masks have the model's"
        raise UserError.about("classes of the head", head.get("num_classes"), rule, remedy)
    named = recipe.classes or classes
    if named != classes and sorted(named) == sorted(classes):
        rule = f"in the order of the masks' values in {root} ({', '.join(classes[:4])}, ...)"
        remedy = "number the masks as the model's classes, or name them in that order (data.classes)"
        raise UserError.about("classes of the head", ", ".join(named[:4]) + ", ...", rule, remedy)
