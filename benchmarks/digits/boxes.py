"""The embedded data set as objects to detect: digits on a texture, some partly hidden, with boxes and masks as COCO's.

train/NAME.png and annotations/instances_train.json; the same for test. A mask is the visible part of a scan's stroke,
as a run-length encoding; its box is the smallest around it. Category ids are 1 to 10, for the digits 0 to 9. The scans
keep their split.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.digits.canvas import DARK, STROKE, Group, groups, ink_of, pixels_of, save_picture, texture
from benchmarks.digits.embedded import write_once
from benchmarks.files.atomic import make_folder, write_atomically

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
PICTURE_SIZE_PX = 64
SPLITS = {"train": 300, "test": 60}
"""Pictures of each split."""
DIGITS_PER_PICTURE = (1, 2)
DIGIT_SIZE_PX = (30, 48)
"""Smallest and largest side of a digit's square."""
LEAST_VISIBLE = 0.9
"""Share of its stroke that every digit keeps when others are drawn over it."""
ANNOTATIONS = "annotations"
MARK = "digit_boxes.json"


@dataclass
class DrawnDigit:
    """A digit and its visible stroke [H, W] bool in the picture; `whole` is how many pixels it had when drawn."""

    digit: int
    visible: np.ndarray
    whole: int


@dataclass(frozen=True)
class DigitPicture:
    """A picture [H, W, 3] uint8 and the digits on it."""

    pixels: np.ndarray
    digits: list[DrawnDigit]


def write_digit_boxes(root: Path) -> str:
    """Write the pictures and their annotations below `root` unless they are there and whole; return their fingerprint.

    Raises as `write_digits` does.
    """
    return write_once(root, MARK, VERSION, (*SPLITS, ANNOTATIONS), _write)


def _write(root: Path) -> None:
    make_folder(root / ANNOTATIONS)
    for split, count in SPLITS.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, picture in enumerate(_pictures(split, count), start=1):
            name = f"{number:04d}.png"
            save_picture(picture.pixels, root / split / name)
            images.append({"id": number, "file_name": name, "width": PICTURE_SIZE_PX, "height": PICTURE_SIZE_PX})
            for drawn in picture.digits:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **_annotation(drawn)})
        categories = [{"id": digit + 1, "name": f"digit {digit}", "supercategory": "digit"} for digit in range(10)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        write_atomically(root / ANNOTATIONS / f"instances_{split}.json", json.dumps(content).encode())


def _pictures(split: str, count: int) -> Iterator[DigitPicture]:
    return (_picture(group) for group in groups(split, count, DIGITS_PER_PICTURE, seed=40))


def _picture(group: Group) -> DigitPicture:
    """Place digits on a texture, each over those before it, where all of them stay visible enough."""
    draw = group.draw
    canvas, drawn = texture(draw, PICTURE_SIZE_PX, DARK), list[DrawnDigit]()
    for digit, scan in group.scans:
        size = int(draw.randint(DIGIT_SIZE_PX[0], DIGIT_SIZE_PX[1] + 1))
        colour, places = draw.uniform(185, 255, 3), draw.randint(0, PICTURE_SIZE_PX - size + 1, (20, 2))
        ink = ink_of(scan, size)
        for top, left in places:
            stroke = _placed(ink >= STROKE, top, left)
            if all((other.visible & ~stroke).sum() >= LEAST_VISIBLE * other.whole for other in drawn):
                window = canvas[top : top + size, left : left + size]
                window += ink[..., None] * (colour - window)
                for other in drawn:
                    other.visible &= ~stroke
                drawn.append(DrawnDigit(digit, stroke, int(stroke.sum())))
                break
    return DigitPicture(pixels_of(canvas), drawn)


def _placed(mask: np.ndarray, top: int, left: int) -> np.ndarray:
    import numpy as np

    placed = np.zeros((PICTURE_SIZE_PX, PICTURE_SIZE_PX), bool)
    placed[top : top + len(mask), left : left + len(mask)] = mask
    return placed


def _annotation(drawn: DrawnDigit) -> dict[str, Any]:
    rows, columns = drawn.visible.nonzero()
    (top, bottom), (left, right) = ((int(places.min()), int(places.max())) for places in (rows, columns))
    return {
        "category_id": drawn.digit + 1,
        "bbox": [left, top, right - left + 1, bottom - top + 1],
        "area": int(drawn.visible.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(drawn.visible.shape), "counts": _run_lengths(drawn.visible)},
    }


def _run_lengths(mask: np.ndarray) -> list[int]:
    """Return the lengths of the runs of 0, 1, 0, ... down the columns, as COCO's RLE counts them."""
    import numpy as np

    values = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(values, prepend=False)).tolist()
    lengths: list[int] = np.diff([0, *edges, values.size]).tolist()
    return lengths
