"""What is doubtful about a COCO file whose rows are well-formed one by one: another unit, corners for sizes, odd boxes.

A whole file of such boxes is refused. Single ones are counted and named, and stay: scores are those of COCO's tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from transfer.detection.data.coco_file import CocoFile, Row, refuse, run_lengths

NAMED = 3
"""Of each kind of doubt."""
ROUNDING_PX = 2.0
"""So far, an edge may lie beside that of the segmentation without a doubt."""
IN_COMMON = 0.5
"""Boxes have less in common with their segmentations' extents (intersection over union) only by mistake."""
SAME = 0.9
"""Boxes that have as much in common are the same but for rounding."""
SMALLEST_BOX_PX = 1.0
"""Objects of less width or height take no part in training."""
REMEDY = (
    "bbox is [x, y, width, height] in pixels of the image, segmentation [x0, y0, x1, y1, ...] or an RLE: convert them"
)

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def refuse_shares(file: CocoFile) -> None:
    """Raise UserError where most boxes lie between 0 and 1, as shares of their image's width and height do."""
    shares = [row for row in file.annotations if min(row["bbox"]) >= 0 and max(row["bbox"]) <= 1]
    if 2 * len(shares) > len(file.annotations):
        rule = (
            f"boxes in pixels: these {len(shares)} of {len(file.annotations)} lie within 0 to 1, as shares of the image"
        )
        remedy = "multiply x and width by the image's width, y and height by its height; segmentations likewise"
        refuse(file.path, map(_box_of, shares), rule, remedy)


def are_corners(file: CocoFile, images: Mapping[int, Row]) -> bool:
    """Tell whether every box lies on its image when it is read as [left, top, right, bottom]."""

    def lies_inside(row: Row) -> bool:
        (left, top, right, bottom), image = row["bbox"], images[row["image_id"]]
        across = -ROUNDING_PX <= left < right <= image["width"] + ROUNDING_PX
        return bool(across and -ROUNDING_PX <= top < bottom <= image["height"] + ROUNDING_PX)

    return all(map(lies_inside, file.annotations))


def doubts(path: Path, rows: Sequence[Row], images: Mapping[int, Row]) -> list[str]:
    """Return, in words, how many annotations and images of a file are odd.

    Raises UserError where most boxes lie apart from their segmentations, or agree with them when read as corners.
    """
    objects = [row for row in rows if row.get("iscrowd", 0) == 0]
    odd = {row["id"]: fault for row in objects if (fault := _contradiction(row))}
    if 2 * sum(wrong for _, wrong in odd.values()) > len(objects):
        rule = f"boxes around their objects: {len(odd)} of {len(objects)} are not"
        refuse(path, (text for text, wrong in odd.values() if wrong), rule, REMEDY)
    small = [_box_of(row) for row in objects if min(_on_image(row, images[row["image_id"]])) < SMALLEST_BOX_PX]
    files = Counter(image["file_name"] for image in images.values())
    twice = [f"{name} ({times} times)" for name, times in files.items() if times > 1]
    found = {
        "boxes are less than 1 px wide or high: not trained on, but scored": small,
        "boxes contradict their objects: kept as they are": [text for text, _ in odd.values()],
        "images have the file of another one, each with objects of its own": twice,
    }
    return [f"{path.name}: {len(texts)} {what}: {_first(texts)}" for what, texts in found.items() if texts]


def _first(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return "; ".join(islice(texts, NAMED)) + more


def _box_of(row: Row) -> str:
    return f"annotation {row['id']}: bbox {row['bbox']}"


def _on_image(row: Row, image: Row) -> tuple[float, float]:
    """Return width and height of the part of a box that lies on its image."""
    x, y, width, height = row["bbox"]
    return min(x + width, image["width"]) - max(x, 0), min(y + height, image["height"]) - max(y, 0)


def _contradiction(row: Row) -> tuple[str, bool] | None:
    """Say how a box and its object differ, and whether the box is in a wrong place or form."""
    x, y, third, fourth = row["bbox"]
    box, as_corners = (x, y, x + third, y + fourth), (x, y, third, fourth)
    extent = _extent(row.get("segmentation"))
    if extent is None:
        size, other = third * fourth, max(third - x, 0) * max(fourth - y, 0)
        if _close(row["area"], other) and not _close(row["area"], size):
            return f"{_box_of(row)}, area {row['area']:g} is that of corners", True
        return None
    if all(abs(one - other) <= ROUNDING_PX for one, other in zip(box, extent, strict=True)):
        return None
    common, total = _overlap(box, extent), _area(box) + _area(extent)
    if common >= IN_COMMON * (total - common):
        return None
    left, top, right, bottom = extent
    text = f"{_box_of(row)}, segmentation from ({left:g}, {top:g}) to ({right:g}, {bottom:g})"
    shared = _overlap(as_corners, extent)
    agree = shared >= SAME * (_area(as_corners) + _area(extent) - shared)
    return text, common < IN_COMMON * _area(extent) or agree


def _close(area: float, other: float) -> bool:
    return abs(area - other) <= 0.01 * other


def _area(box: Corners) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def _overlap(one: Corners, other: Corners) -> float:
    left, top, right, bottom = zip(one, other, strict=True)
    return _area((max(left), max(top), min(right), min(bottom)))


def _extent(outline: Any) -> Corners | None:
    """Return the smallest box around a segmentation; None where there is none."""
    if isinstance(outline, dict):
        counts = outline["counts"]
        return _extent_of_runs(run_lengths(counts) if isinstance(counts, str) else counts, outline["size"][0])
    corners = [value for polygon in outline or () for value in polygon]
    across, down = corners[::2], corners[1::2]
    return (min(across), min(down), max(across), max(down)) if corners else None


def _extent_of_runs(runs: Iterable[int], height: int) -> Corners | None:
    """Return the box around the pixels of every second run, which go down one column after the other."""
    columns: list[int] = []
    rows: list[int] = []
    at = 0
    for number, run in enumerate(runs):
        if number % 2 and run:
            (first, top), (last, bottom) = divmod(at, height), divmod(at + run - 1, height)
            columns += (first, last)
            rows += (top, bottom) if first == last else (0, height - 1)
        at += run
    return (min(columns), min(rows), max(columns) + 1, max(rows) + 1) if columns else None
