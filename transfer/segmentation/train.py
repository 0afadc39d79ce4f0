"""Training and testing a segmenter: an encoder with fresh heads, its loss, and the classes of test pixels."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks import ranks
from benchmarks.engine.evaluation import SHOWN
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.processes.exchange import any_rank, gathered
from benchmarks.engine.watch.progress import EvaluationLines
from benchmarks.errors import WorkFailed
from benchmarks.families.table import family_of
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.runs.folder import RunFolder
from transfer.adapter import Transfer
from transfer.encoder.layer_decay import groups_around
from transfer.run import TransferProblem
from transfer.segmentation.masks import MaskValues
from transfer.segmentation.model import build_segmenter, fit_batch_norms
from transfer.segmentation.plan import Pipeline
from transfer.segmentation.recipe import SegmentationRecipe
from transfer.segmentation.samples import EvaluationScenes, SceneBatch, SceneViews, TrainingScenes
from transfer.segmentation.scores import Confusion


class Segmentation(TransferProblem[SceneBatch, Confusion]):
    """Semantic segmentation as a problem for the training loop."""

    recipe: SegmentationRecipe

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        recipe = self.recipe
        self.segmenter = build_segmenter(recipe, self.source, len(self.data.classes), self.seed)
        self.plan, self.load_report = self.segmenter.adapted, self.segmenter.load_report
        self.notes = self.segmenter.plan.notes
        share = recipe.training.batch_size // ranks.world_size() // recipe.training.accumulate
        self.model: Any = fit_batch_norms(self.segmenter.model, self.device, share).to(self.device)

    def blocks(self, model: nn.Module) -> list[nn.Module]:  # noqa: ARG002 (there is one)
        return family_of(self.segmenter.encoder).blocks()

    def groups(self) -> list[dict[str, Any]]:
        encoder, weight_decay = self.segmenter.encoder, self.recipe.training.weight_decay
        return groups_around(self.model, encoder, weight_decay, self.recipe.layer_decay)

    def flops_per_image(self) -> float:
        """Return the FLOPs of a prediction for one training crop."""
        side = self.recipe.image_size_px
        crop = torch.zeros(1, 3, side, side, device=self.device)
        return forward_flops(self.model, lambda: self.model(crop, mode="tensor"))

    def training_samples(self) -> TrainingScenes:
        data, pipeline = self.data, self.segmenter.plan.train_pipeline
        return TrainingScenes(data.train, pipeline, data.values, self.seed, self.recipe.data.max_unreadable)

    def loss(self, batch: SceneBatch, step: int) -> Tensor:  # noqa: ARG002 (the loop's protocol)
        """Return the weighted sum of all heads' losses, each the mean over the crops' pixels."""
        data = {"inputs": batch.inputs, "data_samples": batch.data_samples}
        losses = self.model(**self.model.data_preprocessor(data, True), mode="loss")
        total: Tensor = self.model.parse_losses(losses)[0]
        return total

    def measure(self, pipelines: Sequence[Pipeline] = (), predictions: Path | None = None) -> Confusion:
        """Segment the test images at their masks' own resolution, at a single scale unless `pipelines` are given.

        With `predictions`, each prediction is written to that folder as NAME.png, numbered as the masks are. Raises
        WorkFailed where no test pixel has a class.
        """
        scenes = EvaluationScenes(self.data, pipelines or [self.segmenter.plan.test_pipeline])
        mine = Confusion.empty(len(scenes.values.classes), self.device)

        def segment(sample: SceneViews) -> tuple[SceneViews, Tensor]:
            return sample, predict(self.model, sample.views, fill=self.divided)

        walk = self.walk(scenes, EvaluationLines("tested", len(scenes), "images"))
        for sample, predicted in walk.each(segment):
            mine.add(sample.labels, predicted)
            if predictions is not None:
                path = predictions / f"{scenes.names[sample.position]}.png"
                make_folder(path.parent)
                values = (predicted + scenes.values.first).cpu().numpy()
                Image.fromarray(values.astype(np.uint8 if scenes.values.last < 256 else np.uint16)).save(path)
        total = Confusion(torch.stack(gathered(mine.counts.cpu())).sum(dim=0))
        if not total.counts.any():
            raise WorkFailed(_nothing_to_score(scenes.values, len(scenes), self.unreadable.names))
        return total

    def scores(self, found: Confusion) -> dict[str, float]:
        return found.metrics()

    def conclude(self, folder: RunFolder) -> Mapping[str, float]:
        """Evaluate at several scales where the recipe asks for it, and once more at one to write prediction files."""
        once, testing = {}, self.recipe.testing
        if scales := self.segmenter.plan.multi_scale:
            print(f"testing at {len(testing.multi_scale)} scales, mirrored too", file=sys.stderr)
            once["mIoU_ms"] = self.measure(scales).metrics()["mIoU"]
        if testing.save_predictions:
            self.last = self.measure(predictions=folder.predicted)
        self.final()
        return once

    def write_results(self, folder: RunFolder) -> None:
        write_atomically(folder.classes, self.final().table(self.data.classes).encode())

    def trained_encoder(self) -> nn.Module:
        return self.segmenter.encoder


def _nothing_to_score(values: MaskValues, images: int, unreadable: list[str]) -> str:
    """Return a message that says why no test pixel has a class: unreadable files, masks without labels, or both."""
    labelled = f"{images - len(unreadable)} masks hold no class, only {values.ignored}, which is ignored"
    unread = f"{len(unreadable)} could not be used:" if unreadable else "none was unreadable"
    files = "".join(f"\n    {text}" for text in unreadable[:SHOWN])
    remedy = f"\n  remedy: number the classes in masks from {values.first}, and check data.test_split"
    return f"no labelled pixel among {images} test images: {labelled}; {unread}{files}{remedy}"


def predict(model: Any, views: list[dict[str, Any]], fill: bool = False) -> Tensor:
    """Return the predicted classes [H, W] int64 of one image at its own size, from one view or the mean of several.

    Probabilities are averaged, as mmseg's SegTTAModel does, but one view after the other: 12 views of a large image
    at 150 classes would need 30 GB at once. With `fill`, every rank runs the model as often as the one that has most
    windows, which a divided model needs.
    """
    found = None
    if fill and model.test_cfg.mode == "slide":
        windows = sum(_windows(model, view) for view in views)
        blank = torch.zeros(1, 3, *model.test_cfg.crop_size, device=next(model.parameters()).device)
        for _ in range(any_rank(windows) - windows):
            model(blank, mode="tensor")
    for view in views:
        (sample,) = model.test_step(_batch_of(view))
        if len(views) == 1:
            only: Tensor = sample.pred_sem_seg.data[0]
            return only
        share = sample.seg_logits.data.float().softmax(dim=0)
        found = share if found is None else found.add_(share)
    assert found is not None
    likeliest: Tensor = found.argmax(dim=0)
    return likeliest


def _batch_of(view: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": [view["inputs"]], "data_samples": [view["data_samples"]]}


def _windows(model: Any, view: dict[str, Any]) -> int:
    """Return the number of windows that mmseg's `slide_inference` cuts a view into."""
    size = model.data_preprocessor(_batch_of(view), False)["inputs"].shape[-2:]
    sides = zip(size, model.test_cfg.crop_size, model.test_cfg.stride, strict=True)
    return math.prod(max(side - crop + stride - 1, 0) // stride + 1 for side, crop, stride in sides)
