"""Scores of a segmentation model on a test set, at each mask's own resolution."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks import ranks
from benchmarks.engine.device import autocast
from benchmarks.engine.processes.exchange import gathered, share_buffers
from benchmarks.engine.samples.loaders import evaluation_loader
from benchmarks.errors import WorkFailed
from benchmarks.files import make_folder
from benchmarks.training import Training
from transfer.segmentation.samples import EvaluationScenes
from transfer.segmentation.scores import Confusion

LINE_EVERY_IMAGES = 250
SHOWN = 20


@dataclass(frozen=True)
class Evaluation:
    """All readable test pixels, and the files that could not be used."""

    confusion: Confusion
    unreadable: list[str]


@torch.inference_mode()
def evaluate(
    model: Any, scenes: EvaluationScenes, device: torch.device, training: Training, predictions: Path | None = None
) -> Evaluation:
    """Segment every rank's share of the test images; every rank returns the whole evaluation.

    The model is left in evaluation mode. With `predictions`, each prediction is written there as NAME.png, numbered as
    the masks are.
    """
    share_buffers(model)
    model.eval()
    confusion = Confusion.empty(scenes.num_classes, device)
    unreadable: list[str] = []
    loader = evaluation_loader(scenes, ranks.world_size(), training.workers, False)
    for count, sample in enumerate(loader, start=1):
        unreadable += sample.unreadable
        if sample.views:
            with autocast(device, training):
                predicted = predict(model, sample.views)
            confusion.add(sample.labels.to(device), predicted)
            if predictions is not None:
                _write(predicted, predictions, scenes, sample.position)
        if ranks.is_main() and count % LINE_EVERY_IMAGES == 0:
            print(f"tested {count * ranks.world_size()} of {len(scenes)} images", file=sys.stderr, flush=True)
    parts = gathered((confusion.counts.cpu(), unreadable))
    unreadable = [text for _, texts in parts for text in texts]
    total = Confusion(torch.stack([counts for counts, _ in parts]).sum(dim=0))
    if not total.counts.any():
        raise WorkFailed(_nothing_to_score(len(scenes), unreadable))
    return Evaluation(total, unreadable)


def _nothing_to_score(images: int, unreadable: list[str]) -> str:
    """Say why no test pixel counts: files that cannot be read, masks in which nothing is labelled, or both."""
    labelled = f"{images - len(unreadable)} masks hold no class, only 0, which is ignored"
    unread = f"{len(unreadable)} could not be used:" if unreadable else "none was unreadable"
    files = "".join(f"\n    {text}" for text in unreadable[:SHOWN])
    remedy = "\n  remedy: number the classes in masks from 1, and check data.test_split"
    return f"no labelled pixel among {images} test images: {labelled}; {unread}{files}{remedy}"


def predict(model: Any, views: list[dict[str, Any]]) -> Tensor:
    """Return the predicted classes [H, W] int64 of one image at its own size, from one view or the mean of several.

    Probabilities are averaged, as mmseg's SegTTAModel does, but one view after the other: 12 views of a large image
    at 150 classes would need 30 GB at once.
    """
    found = None
    for view in views:
        (sample,) = model.test_step({"inputs": [view["inputs"]], "data_samples": [view["data_samples"]]})
        if len(views) == 1:
            only: Tensor = sample.pred_sem_seg.data[0]
            return only
        share = sample.seg_logits.data.float().softmax(dim=0)
        found = share if found is None else found.add_(share)
    assert found is not None
    likeliest: Tensor = found.argmax(dim=0)
    return likeliest


def _write(predicted: Tensor, folder: Path, scenes: EvaluationScenes, position: int) -> None:
    path = folder / f"{scenes.names[position]}.png"
    make_folder(path.parent)
    Image.fromarray((predicted + 1).to(torch.uint8).cpu().numpy()).save(path)
