"""The digits as COCO: masks are the strokes of the scans, boxes the smallest around them, the same bytes everywhere."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.digits.boxes import SPLITS, _pictures, write_digit_boxes
from benchmarks.digits.folders import labelled_scans
from tests.support.libraries import library

coco_masks = library("pycocotools.mask", "pycocotools")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("boxes") / "digit_boxes"
    write_digit_boxes(root)
    return root


def annotations_of(root: Path, split: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    return found


def decoded(row: dict[str, Any]) -> np.ndarray:
    mask: np.ndarray = coco_masks.decode(coco_masks.frPyObjects(row["segmentation"], 64, 64))
    return mask


def test_the_same_bytes_everywhere(written: Path) -> None:
    mark = write_digit_boxes(written)
    assert mark.startswith("360 images, content b735741459cc93eb"), "changed pictures are a new VERSION and a new task"
    annotations = b"".join((written / "annotations" / f"instances_{split}.json").read_bytes() for split in SPLITS)
    assert hashlib.sha256(annotations).hexdigest()[:16] == "8aac2a9afaec696a"


@pytest.mark.parametrize(("split", "count"), [("train", 300), ("test", 60)])
def test_boxes_and_areas_are_those_of_the_masks(written: Path, split: str, count: int) -> None:
    rows = annotations_of(written, split)
    assert len(rows["images"]) == count
    for image in rows["images"]:
        with Image.open(written / split / image["file_name"]) as picture:
            assert (picture.mode, picture.size) == ("RGB", (image["width"], image["height"]))
    assert {row["category_id"] for row in rows["annotations"]} == set(range(1, 11))
    assert {row["name"] for row in rows["categories"] if row["id"] == 8} == {"digit 7"}
    for row in rows["annotations"]:
        rle = coco_masks.frPyObjects(row["segmentation"], 64, 64)
        assert (row["area"], row["bbox"]) == (coco_masks.area(rle), coco_masks.toBbox(rle).tolist())


def test_no_pixel_belongs_to_two_digits_and_some_digits_overlap(written: Path) -> None:
    rows = annotations_of(written, "train")["annotations"]
    for image in {row["image_id"] for row in rows}:
        assert np.sum([decoded(row) for row in rows if row["image_id"] == image], axis=0).max() == 1
    hidden = [digit.visible.sum() / digit.whole for picture in _pictures("train", 300) for digit in picture.digits]
    assert 0.9 <= min(hidden) < 1
    assert 0.02 < np.mean([share < 1 for share in hidden]) < 0.5


def test_a_mask_is_the_stroke_of_a_scan(written: Path) -> None:
    """That of a digit that stands alone is Pillow's enlargement of a scan of its class, cut at 35 % ink."""
    rows = annotations_of(written, "train")["annotations"]
    images = [row["image_id"] for row in rows]
    alone = [row for row in rows if images.count(row["image_id"]) == 1][:8]
    scans = list(labelled_scans("train"))
    for row in alone:
        left, top, width, height = row["bbox"]
        stroke = decoded(row)[top : top + height, left : left + width]
        assert any(
            np.array_equal(stroke, cut_out(scan, size))
            for digit, scan in scans
            if digit == row["category_id"] - 1
            for size in range(30, 49)
        )


def cut_out(scan: np.ndarray, size: int) -> np.ndarray:
    ink = np.asarray(Image.fromarray((scan / 255).astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC))
    rows, columns = (ink >= 0.35).nonzero()
    return (ink >= 0.35)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
