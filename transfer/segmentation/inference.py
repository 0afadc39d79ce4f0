"""The classes of a test set's pixels, and how many of them are right: the same for every segmentation model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.engine.evaluation import SHOWN, Walk
from benchmarks.engine.processes.exchange import any_rank, gathered
from benchmarks.errors import WorkFailed
from benchmarks.files.atomic import make_folder
from transfer.segmentation.masks import MaskValues
from transfer.segmentation.samples import EvaluationScenes, SceneViews
from transfer.segmentation.scores import Confusion


def segmented(
    model: Any, scenes: EvaluationScenes, walk: Walk[SceneViews], predictions: Path | None = None, fill: bool = False
) -> Confusion:
    """Segment the scenes of a walk at their masks' own resolution; return the counts of all ranks.

    With `predictions`, each prediction is written to that folder as NAME.png, numbered as the masks are. `fill` is that
    of `predict`. Raises WorkFailed where no test pixel has a class.
    """
    mine = Confusion.empty(len(scenes.values.classes), walk.device)

    def segment(sample: SceneViews) -> tuple[SceneViews, Tensor]:
        return sample, predict(model, sample.views, fill=fill)

    for sample, predicted in walk.each(segment):
        mine.add(sample.labels, predicted)
        if predictions is not None:
            path = predictions / f"{scenes.names[sample.position]}.png"
            make_folder(path.parent)
            values = (predicted + scenes.values.first).cpu().numpy()
            Image.fromarray(values.astype(np.uint8 if scenes.values.last < 256 else np.uint16)).save(path)
    total = Confusion(torch.stack(gathered(mine.counts.cpu())).sum(dim=0))
    if not total.counts.any():
        raise WorkFailed(_nothing_to_score(scenes.values, len(scenes), walk.unreadable.names))
    return total


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
