"""A detector of detectron2 with its own heads: read with its config, and scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge
from pycocotools import mask as coco_masks
from torch import Tensor

from benchmarks.encoders import Normalisation
from benchmarks.engine.evaluation import Walk
from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder
from benchmarks.text.progress import EvaluationLines
from transfer.adapter import Asked, Trained, Transfer
from transfer.detection.average_precision import Kind
from transfer.detection.data.coco import Picture
from transfer.detection.data.samples import Detections, PictureBatch, Pictures, PictureSample, Target
from transfer.detection.data.view import View
from transfer.detection.models.detectron2_config import (
    built_detector,
    number_of_classes,
    read_detectron2_config,
    whole_config,
)
from transfer.detection.recipe import EvaluateDetectionRecipe
from transfer.detection.scored import scored, write_scored
from transfer.encoder.proof.loading import load_exactly
from transfer.run import ScoredModel
from transfer.sources.whole import WholeFile, read_whole, whole_source

RECIPE = "coco_evaluate"
COLOURS = ("pixel_mean", "pixel_std")
ANCHORS = "anchor_generator.cell_anchors."
"""Buffers that older files hold beside the weights; both follow from the config."""


def read_detector(asked: Asked) -> Trained:
    """Read a checkpoint of detectron2 (.pkl, .pth) by its config.

    Raises UserError without a config, for one that is no plain YAML, and for a file that is not of that config.
    """
    asked.require_left_out("architecture", "head_classes", "weights", "prefix")
    if asked.config is None:
        rule = "the config that the model was trained with, which checkpoints of detectron2 do not hold"
        raise UserError.about("--config", "(not given)", rule, "add --config FILE.yaml (config.yaml of its OUTPUT_DIR)")
    config = read_detectron2_config(asked.config)
    cfg = whole_config(config, "cpu")
    file = read_whole(asked.reference)
    if file.value("matching_heuristics"):
        rule = "a whole model under detectron2's own names (this file is a backbone's, or Detectron's of Caffe2)"
        raise UserError.about("--model", asked.reference, rule, "let detectron2 load it and save the model again")
    remarks = ["categories are taken in the order of their ids in the annotations, as detectron2 numbers them"]
    if cfg.TEST.AUG.ENABLED:
        remarks.append("TEST.AUG is not followed: each image is searched once, at one size")
    source = whole_source(
        _of_config(file, cfg),
        asked.reference,
        "detectron2",
        cfg.MODEL.BACKBONE.NAME,
        _normalisation(cfg),
        asked.label,
        asked.said.stage,
        tuple(remarks),
    )
    size = cfg.INPUT.MIN_SIZE_TEST or cfg.INPUT.MAX_SIZE_TEST
    return Trained(source, RECIPE, (f"image_size_px={size}", f"detectron2={json.dumps(config)}"))


def _of_config(file: WholeFile, cfg: Any) -> WholeFile:
    """Return the file without what follows from the config. Raises UserError where that contradicts the config."""
    stated = {"pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}
    for name, values in stated.items():
        found = file.weights.get(name)
        if found is not None and not np.allclose(found.flatten().tolist(), list(values), rtol=1e-5):
            rule = f"{list(values)}, as the config says (MODEL.{name.upper()})"
            raise UserError.about(
                f"{name} of {file.path}", found.flatten().tolist(), rule, "give the model's own config"
            )
    kept = {name: value for name, value in file.weights.items() if name not in COLOURS and ANCHORS not in name}
    return WholeFile(file.path, kept, file.content)


def _normalisation(cfg: Any) -> Normalisation:
    """Return mean and standard deviation of red, green and blue on a scale of 0 to 1, for the record."""
    values = [[each / 255 for each in found] for found in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)]
    mean, std = (tuple(each[::-1] if cfg.INPUT.FORMAT == "BGR" else each) for each in values)
    return Normalisation(mean, std)


class RawPictures(Pictures):
    """Test images as detectron2's DatasetMapper makes them: resized by its own function, not yet normalised."""

    def __init__(self, pictures: Sequence[Picture], cfg: Any) -> None:
        """Raise UserError for another order of channels than blue, green, red or its reverse."""
        super().__init__(pictures)
        if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
            raise UserError.about("INPUT.FORMAT", cfg.INPUT.FORMAT, "BGR or RGB", "score it with detectron2")
        self.reverse = cfg.INPUT.FORMAT == "BGR"
        shorter, longer = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        self.resize = ResizeShortestEdge([shorter, shorter], longer) if shorter else None

    def sample(self, position: int, found: tuple[Picture, View] | None, failed: list[str]) -> PictureSample:  # noqa: ARG002
        if found is None:
            return PictureSample(None, None, tuple(failed))
        picture, view = found
        pixels = view.image.permute(1, 2, 0).numpy()
        pixels = np.ascontiguousarray(pixels[:, :, ::-1] if self.reverse else pixels)
        if self.resize is not None:
            pixels = self.resize.get_transform(pixels).apply_image(pixels)
        nothing = Target(torch.empty(0, 4), torch.empty(0, dtype=torch.int64), None, picture.id, _size(picture))
        return PictureSample(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), nothing, tuple(failed))


def _size(picture: Picture) -> tuple[int, int]:
    """Return the height and width of an image file."""
    return picture.height, picture.width


class ScoredDetector(ScoredModel):
    """A detector of detectron2 with its own heads."""

    recipe: EvaluateDetectionRecipe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        source = transfer.source
        assert source.read is not None, "random weights have no head"
        self.cfg = whole_config(self.recipe.detectron2, str(self.device))
        _require_classes(self.cfg, transfer)
        self.kinds: tuple[Kind, ...] = ("box", "mask") if self.cfg.MODEL.MASK_ON and self.data.has_masks else ("box",)
        self.model: Any = built_detector(self.cfg)
        report = load_exactly(self.model, source.read(), source.source_format)
        self.load_report = report.model_copy(update={"notes": source.notes()})

    def measure(self) -> Mapping[str, float]:
        pictures = RawPictures(self.data.test, self.cfg)
        lines = EvaluationLines("searched", len(pictures), "images")
        walk = Walk(self.model, pictures, self.device, self.recipe.inference, self.unreadable, lines)
        found = {each.image_id: each for detections in walk.results(self._find) for each in detections}
        self.found = scored(found, self.data, self.kinds)
        return self.found.metrics

    def _find(self, batch: PictureBatch) -> list[Detections]:
        sizes = [target.original_size for target in batch.targets]
        given = [
            {"image": image, "height": height, "width": width}
            for image, (height, width) in zip(batch.images, sizes, strict=True)
        ]
        found = self.model(given)
        return [_detections(each["instances"], t.image_id) for each, t in zip(found, batch.targets, strict=True)]

    def write_results(self, folder: RunFolder) -> None:
        write_scored(folder, self.found, self.data, self.kinds if self.recipe.save_predictions else ())


def _detections(instances: Any, image_id: int) -> Detections:
    """Return what detectron2 found on one image, whose boxes and masks are in pixels of the file."""
    masks: Tensor | None = instances.pred_masks.cpu() if instances.has("pred_masks") else None
    runs = None if masks is None else [coco_masks.encode(np.asfortranarray(each.numpy(), np.uint8)) for each in masks]
    boxes, scores, labels = instances.pred_boxes.tensor, instances.scores, instances.pred_classes
    return Detections(image_id, boxes.cpu(), scores.cpu(), labels.cpu(), runs)


def _require_classes(cfg: Any, transfer: Transfer) -> None:
    """Raise UserError unless the model's heads have as many classes as the test set has categories."""
    known, found = len(transfer.data.categories), number_of_classes(cfg)
    if found != known:
        rule = f"as many as the test set has categories ({known} in {transfer.data.root})"
        remedy = "name the model that was trained on these categories, or give annotations with the model's"
        raise UserError.about("classes of the head", found, rule, remedy)
