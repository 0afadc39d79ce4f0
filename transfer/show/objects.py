"""Boxes and masks of objects, from the files in COCO's format of results in which a run saves them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.ops import box_iou
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from benchmarks.engine.samples.unreadable import UNREADABLE
from benchmarks.errors import UserError, printable
from benchmarks.files.json_files import parse_json, read_json_bytes
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright_pixels
from benchmarks.files.regular import regular
from benchmarks.pictures.small import fit
from transfer.detection.data.coco import CocoSets, Picture
from transfer.detection.data.outlines import drawn as drawn_outline
from transfer.show.colours import Colour, as_hex, colour_of
from transfer.show.shown import Bytes, Cell, Example, Seen, Swatch

SAME_IOU = 0.5
"""The IoU of two boxes of one class above which they are of the same object."""
MOST_BOXES = 30
LARGEST_BYTES, MOST_VALUES = 2**30, 2**26
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


@dataclass(frozen=True)
class Objects:
    """Objects on one image, those of the highest scores first."""

    boxes: Tensor
    """[N, 4]: left, top, right, bottom in pixels of the file."""
    labels: tuple[int, ...]
    scores: tuple[float, ...] | None
    """None of true objects."""
    outlines: tuple[Any, ...]
    """COCO's segmentations, as polygons or RLE; empty where there are none."""


def picture_names(data: CocoSets) -> dict[str, int]:
    """Return the positions of the test images by their files' paths below the root, or whole paths elsewhere."""
    paths = [picture.path for picture in data.test]
    named = (path.relative_to(data.root) if path.is_relative_to(data.root) else path for path in paths)
    return {path.as_posix(): position for position, path in enumerate(named)}


class SeenObjects(Seen):
    """Images with the objects that each run finds."""

    def __init__(self, data: CocoSets, folders: Sequence[Path], candidates: Sequence[str], least_score: float) -> None:
        self.data, self.met = data, set[int]()
        everywhere = picture_names(data)
        self.positions = {name: everywhere[name] for name in candidates}
        self.by_position = {at: name for name, at in self.positions.items()}
        wanted = {data.test[at].id for at in self.positions.values()}
        self.found = [_read(folder, data, wanted, least_score) for folder in folders]

    @property
    def names(self) -> Mapping[str, int]:
        return self.positions

    @property
    def legend(self) -> Sequence[Swatch]:  # type: ignore[override]
        return [Swatch(self.data.classes[number], as_hex(colour_of(number))) for number in sorted(self.met)]

    @cached_property
    def _nothing(self) -> Objects:
        return Objects(torch.zeros(0, 4), (), (), ())

    def _of(self, run: int, position: int) -> Objects:
        return self.found[run].get(self.data.test[position].id, self._nothing)

    def differ(self, position: int, one: int, other: int) -> float:
        first, second = self._of(one, position), self._of(other, position)
        total = len(first.labels) + len(second.labels)
        return 1 - 2 * matched(first, second) / total if total else 0.0

    def example(self, position: int) -> Example:
        picture = self.data.test[position]
        name = self.by_position[position]
        everything = [self._of(run, position) for run in range(len(self.found))]
        truth = _truth(picture)
        words = f"{len(truth.labels)} {'object' if len(truth.labels) == 1 else 'objects'}"
        counts = [_words(truth, found) for found in everything]
        try:
            with open_picture(regular(picture.path)) as file:
                image = upright_pixels(file, "RGB")
        except UNREADABLE as error:
            words = f"{words}\n(cannot be read: {type(error).__name__})"
            return Example(name, Cell(words), tuple(Cell(each) for each in counts))
        cells = (Cell(each, self._drawn(image, found)) for each, found in zip(counts, everything, strict=True))
        return Example(name, Cell(words, self._drawn(image, truth)), tuple(cells))

    def _drawn(self, image: Image.Image, objects: Objects) -> Bytes:
        small = fit(image)
        pixels = torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())
        shown = range(min(len(objects.labels), MOST_BOXES))
        if not shown:
            return np.asarray(small)
        labels = [objects.labels[at] for at in shown]
        self.met |= set(labels)
        colours = [colour_of(label) for label in labels]
        if objects.outlines:
            masks = [_mask(objects.outlines[at], image.size, small.size) for at in shown]
            pixels = draw_segmentation_masks(pixels, torch.from_numpy(np.stack(masks)), 0.5, colours)
        scale = torch.tensor([small.width / image.width, small.height / image.height] * 2)
        boxes = (objects.boxes[: len(labels)] * scale).clamp(min=0)
        boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2])
        scores = objects.scores
        words = [
            printable(self.data.classes[label])[:20] + ("" if scores is None else f" {scores[at]:.2f}")
            for at, label in enumerate(labels)
        ]
        canvas = Image.fromarray(draw_bounding_boxes(pixels, boxes, None, colours, width=2).permute(1, 2, 0).numpy())
        _label(canvas, boxes.tolist(), words, colours)
        return np.asarray(canvas)


def _label(canvas: Image.Image, boxes: list[list[float]], words: Sequence[str], colours: Sequence[Colour]) -> None:
    """Write words in the upper left corner of each box, on the box's colour."""
    pen, font = ImageDraw.Draw(canvas), ImageFont.truetype(str(FONT), 11)
    for (left, top, _, _), text, colour in reversed(list(zip(boxes, words, colours, strict=True))):
        pen.rectangle(pen.textbbox((left + 1, top), text, font=font), fill=colour)
        bright = 299 * colour[0] + 587 * colour[1] + 114 * colour[2] > 128_000
        pen.text((left + 1, top), text, fill="black" if bright else "white", font=font)


def matched(one: Objects, other: Objects) -> int:
    """Return how many objects of `one`, best first, have one of their class in `other` that no better one took."""
    if not one.labels or not other.labels:
        return 0
    same = torch.tensor(one.labels)[:, None] == torch.tensor(other.labels)[None, :]
    overlaps = torch.where(same, box_iou(one.boxes, other.boxes), torch.zeros(()))
    count = 0
    for row in range(len(one.labels)):
        best = int(overlaps[row].argmax())
        if overlaps[row, best] >= SAME_IOU:
            overlaps[:, best] = 0
            count += 1
    return count


def _words(truth: Objects, found: Objects) -> str:
    right = matched(found, truth)
    return f"{right} of {len(truth.labels)} found\n{len(found.labels) - right} wrong"


def _truth(picture: Picture) -> Objects:
    there = [each for each in picture.annotations if not each.crowd]
    outlines = tuple(each.segmentation for each in there)
    return Objects(
        torch.tensor([each.box_xyxy for each in there], dtype=torch.float32).reshape(-1, 4),
        tuple(each.category for each in there),
        None,
        outlines if all(each is not None for each in outlines) else (),
    )


def _mask(outline: Any, size: tuple[int, int], shown: tuple[int, int]) -> np.ndarray:
    mask = drawn_outline(outline, size[1], size[0])
    return np.asarray(Image.fromarray(mask).resize(shown, Image.Resampling.NEAREST)).astype(bool)


def _read(folder: Path, data: CocoSets, wanted: set[int], least_score: float) -> dict[int, Objects]:
    """Return the detections of at least a score on the wanted images, by the images' ids."""
    classes = {category.id: number for number, category in enumerate(data.categories)}
    boxes = _rows(folder / "box.json")
    masks = _rows(folder / "mask.json") if (folder / "mask.json").is_file() else []
    outlines = [row.get("segmentation") for row in masks] if len(masks) == len(boxes) else [None] * len(boxes)
    found: dict[int, list[tuple[float, int, list[float], Any]]] = defaultdict(list)
    try:
        for row, outline in zip(boxes, outlines, strict=True):
            if row["image_id"] in wanted and row["score"] >= least_score:
                x, y, w, h = map(float, row["bbox"])
                one = (float(row["score"]), classes[row["category_id"]], [x, y, x + w, y + h], outline)
                found[row["image_id"]].append(one)
    except (LookupError, TypeError, ValueError) as error:
        raise _wrong(folder / "box.json", f"{type(error).__name__}: {error}") from None
    return {image: _objects(sorted(rows, key=lambda row: -row[0])) for image, rows in found.items()}


def _objects(rows: Sequence[tuple[float, int, list[float], Any]]) -> Objects:
    scores, labels, boxes, outlines = zip(*rows, strict=True)
    return Objects(torch.tensor(boxes), labels, scores, outlines if None not in outlines else ())


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = parse_json(read_json_bytes(path, LARGEST_BYTES, MOST_VALUES))
    except (OSError, ValueError) as error:
        raise _wrong(path, str(error)) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _wrong(path, "no list of detections")
    return rows


def _wrong(path: Path, value: str) -> UserError:
    remedy = "remove predictions/ of this run, and its checkpoint predicts again"
    return UserError.about(f"predictions {path}", value, "detections in COCO's format of results", remedy)
