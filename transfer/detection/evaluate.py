"""Average precision of a detector on a test set, at each image's own resolution."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch

from benchmarks import ranks
from benchmarks.engine.device import autocast
from benchmarks.engine.processes.exchange import gathered, share_buffers
from benchmarks.engine.samples.loaders import evaluation_loader
from benchmarks.errors import WorkFailed
from benchmarks.training import Training
from transfer.detection.data.samples import Detections, EvaluationPictures
from transfer.detection.models.detector import Detector

LINE_EVERY_IMAGES = 250


@dataclass(frozen=True)
class Searched:
    """What was found on all readable test images, in their order, and the files that could not be used."""

    detections: list[Detections]
    unreadable: list[str]


@torch.inference_mode()
def search(detector: Detector, pictures: EvaluationPictures, device: torch.device, training: Training) -> Searched:
    """Search every rank's share of the test images, one after the other; every rank returns all that was found.

    The detector is left in evaluation mode.
    """
    share_buffers(detector)
    detector.eval()
    detections: list[Detections] = []
    unreadable: list[str] = []
    loader = evaluation_loader(pictures, ranks.world_size(), training.workers, device.type == "cuda")
    for count, batch in enumerate(loader, start=1):
        unreadable += batch.unreadable
        if batch.images:
            with autocast(device, training):
                detections += detector.predict(batch.to(device))
        if ranks.is_main() and count % LINE_EVERY_IMAGES == 0:
            print(f"searched {count * ranks.world_size()} of {len(pictures)} images", file=sys.stderr, flush=True)
    parts = gathered(Searched(detections, unreadable))
    place = {picture.id: position for position, picture in enumerate(pictures.pictures)}
    found = sorted((each for part in parts for each in part.detections), key=lambda each: place[each.image_id])
    unreadable = [text for part in parts for text in part.unreadable]
    if not found:
        raise WorkFailed("no test image could be read:\n    " + "\n    ".join(unreadable[:20]))
    return Searched(found, unreadable)
