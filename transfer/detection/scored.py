"""The scores of what a detector found on a test set, and the files with them: the same for every detector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import ranks
from benchmarks.engine.processes.exchange import gathered
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.runs.folder import RunFolder
from transfer.detection.average_precision import Kind, average_precision, class_table, coco_results
from transfer.detection.data.coco import CocoSets
from transfer.detection.data.samples import Detections


@dataclass(frozen=True)
class Scored:
    """The result of one evaluation on the test set."""

    detections: list[Detections]
    """The detections on all readable test images, in their order."""
    metrics: dict[str, float]
    table: str
    """A line for every category, as CSV."""


def scored(found: Mapping[int, Detections], data: CocoSets, kinds: Sequence[Kind]) -> Scored:
    """Score what all ranks found, by the ids of the images; those that could not be read are left out."""
    detections = [found[picture.id] for picture in data.test if picture.id in found]
    # Once for all ranks, since it takes minutes and gigabytes.
    metrics, table = gathered(_scores(detections, data, kinds) if ranks.is_main() else ({}, ""))[0]
    return Scored(detections, metrics, table)


def _scores(detections: Sequence[Detections], data: CocoSets, kinds: Sequence[Kind]) -> tuple[dict[str, float], str]:
    read = {each.image_id for each in detections}
    pictures = [each for each in data.test if each.id in read]
    scores = [average_precision(pictures, data.categories, detections, kind) for kind in kinds]
    metrics = {name: value for each in scores for name, value in each.metrics().items()}
    return metrics, class_table(data.categories, scores)


def write_scored(folder: RunFolder, final: Scored, data: CocoSets, kinds: Sequence[Kind]) -> None:
    """Write the table and, for each of `kinds`, the detections in COCO's format of results."""
    write_atomically(folder.classes, final.table.encode())
    write_found(folder.predicted, final, data, kinds)


def write_found(folder: Path, final: Scored, data: CocoSets, kinds: Sequence[Kind]) -> None:
    """Write the detections, for each of `kinds`, in COCO's format of results to a folder."""
    for kind in kinds:
        rows = coco_results(final.detections, data.categories, kind)
        make_folder(folder)
        write_atomically(folder / f"{kind}.json", json.dumps(rows).encode())
