"""Files whose rows are well-formed and yet cannot be meant: refused as a whole, or counted and named one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pycocotools import mask as coco_masks

from benchmarks.errors import UserError
from tests.transfer.detection.coco import Document, SmallCoco, annotation
from transfer.detection.average_precision import average_precision
from transfer.detection.average_precision import pycocotools as pycocotools_scores
from transfer.detection.data.coco import read_coco
from transfer.detection.data.doubts import _extent
from transfer.detection.data.samples import Detections, read_view

WIDTH, HEIGHT = 80, 60


def every_box(how: Callable[[list[float]], list[float]]) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for row in document["annotations"]:
            row["bbox"] = how(row["bbox"])

    return change


def without_masks(document: Document) -> None:
    for row in document["annotations"]:
        row.update(segmentation=[], iscrowd=0, area=row["bbox"][2] * row["bbox"][3])


def as_shares(box: list[float]) -> list[float]:
    return [box[0] / WIDTH, box[1] / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT]


def as_corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def moved(document: Document) -> None:
    for row in document["annotations"]:
        row["bbox"] = [row["bbox"][0] / 8, row["bbox"][1] / 8, 5, 5]


def shares_in_polygons(document: Document) -> None:
    for row in document["annotations"]:
        row["segmentation"] = [[0.1, 0.1, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2]]


def small_corners(document: Document) -> None:
    """All of them also lie on the image as sizes; the area tells what was meant."""
    without_masks(document)
    for number, row in enumerate(document["annotations"]):
        row.update(bbox=[5 + number, 5, 25, 20], area=(20 - number) * 15)


WHOLE_FILES: dict[str, tuple[tuple[Callable[[Document], Any], ...], str, str]] = {
    "boxes from 0 to 1": (
        (every_box(as_shares),),
        "annotation 1: bbox [0.13125, 0.16666666666666666, 0.375, 0.3333333333333333]",
        "boxes in pixels: these 5 of 5 lie within 0 to 1",
    ),
    "corners from 0 to 1": (
        (every_box(as_shares), every_box(as_corners)),
        "annotation 1: bbox [0.13125, 0.16666666666666666, 0.50625, 0.5]",
        "boxes in pixels: these 5 of 5 lie within 0 to 1",
    ),
    "corners for sizes": (
        (every_box(as_corners),),
        "annotation 3, image 31 of 80x60: bbox [20, 40, 33, 55]",
        "boxes, polygons and masks on their image",
    ),
    "corners for sizes, near the origin": (
        (small_corners,),
        "annotation 1: bbox [5, 5, 25, 20], area 300 is that of corners",
        "boxes around their objects: 5 of 5 are not",
    ),
    "boxes elsewhere": (
        (moved,),
        "annotation 1: bbox [1.3125, 1.25, 5, 5], segmentation from (10.5, 10) to (40.5, 30)",
        "boxes around their objects: 3 of 3 are not",
    ),
    "polygons from 0 to 1": (
        (shares_in_polygons,),
        "annotation 1: bbox [10.5, 10, 30, 20], segmentation from (0.1, 0.1) to (0.2, 0.2)",
        "boxes around their objects: 3 of 3 are not",
    ),
}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("what", WHOLE_FILES)
def test_a_file_of_another_unit_or_form_is_refused(small_coco: SmallCoco, what: str, split: str) -> None:
    changes, fault, rule = WHOLE_FILES[what]
    for change in changes:
        file = small_coco.change(split, change)
    with pytest.raises(UserError) as caught:
        read_coco(small_coco.data)
    message = str(caught.value)
    assert message.startswith(f"{file} = ")
    assert fault in message
    assert f"\n  rule:   {rule}" in message
    assert "\n  remedy: " in message


def test_the_remedy_says_that_boxes_look_like_corners(small_coco: SmallCoco) -> None:
    small_coco.change("train", every_box(as_corners))
    with pytest.raises(UserError, match=r"read as corners .* all boxes lie on their images"):
        read_coco(small_coco.data)
    small_coco.change("train", lambda document: document["annotations"][0].update(bbox=[30, 20, 10, 60]))
    with pytest.raises(UserError) as caught:
        read_coco(small_coco.data)
    assert "corners" not in str(caught.value)


def test_boxes_below_a_pixel_are_counted_and_scored(small_coco: SmallCoco) -> None:
    thin = [
        annotation(9, 31, 7, [5, 5, 0.5, 20], [], 10),
        annotation(10, 31, 7, [79.5, 5, 2, 20], [], 10),  # half a pixel of it is on the image
        annotation(11, 31, 7, [5, 5, 1, 1], [], 1),
    ]
    for split in ("train", "test"):
        small_coco.change(split, lambda document: (without_masks(document), document["annotations"].extend(thin)))
    found = read_coco(small_coco.data)
    words = (
        "2 boxes are less than 1 px wide or high: not trained on, but scored: "
        "annotation 9: bbox [5, 5, 0.5, 20]; annotation 10: bbox [79.5, 5, 2, 20]"
    )
    assert found.notes == (f"instances_train.json: {words}", f"instances_test.json: {words}")
    assert len(found.train[0].annotations) == 7
    assert len(read_view(found.train[0], masks=False).boxes) == 5
    detections = [
        Detections(
            picture.id,
            torch.tensor([each.box_xyxy for each in picture.annotations]).reshape(-1, 4),
            torch.ones(len(picture.annotations)),
            torch.tensor([each.category for each in picture.annotations], dtype=torch.int64),
            None,
        )
        for picture in found.test
    ]
    scores = average_precision(found.test, found.categories, detections, "box", pycocotools_scores())
    assert scores.objects == (2, 6), "every object of the file, as pycocotools counts them"
    assert scores.ap == pytest.approx(1)


def test_a_single_box_that_contradicts_its_mask_is_named_and_kept(small_coco: SmallCoco) -> None:
    small_coco.change("train", lambda document: document["annotations"][2].update(bbox=[1, 1, 13, 15]))
    found = read_coco(small_coco.data)
    assert found.notes == (
        "instances_train.json: 1 boxes contradict their objects: kept as they are: "
        "annotation 3: bbox [1, 1, 13, 15], segmentation from (20, 40) to (33, 55)",
    )
    assert found.train[0].annotations[2].box_xywh == (1, 1, 13, 15)


@pytest.mark.parametrize("box", [[9, 8.5, 33, 23], [10.5, 10, 60, 20]])
def test_boxes_that_are_a_little_larger_are_no_doubt(small_coco: SmallCoco, box: list[float]) -> None:
    """Half hidden objects have boxes beyond what is seen of them; half of the box is still their own."""
    small_coco.change("train", lambda document: document["annotations"][0].update(bbox=box))
    assert read_coco(small_coco.data).notes == ()


def test_two_entries_for_one_image_are_named(small_coco: SmallCoco) -> None:
    small_coco.change("train", lambda document: document["images"][1].update(file_name="1.png"))
    (note,) = read_coco(small_coco.data).notes
    assert note == (
        "instances_train.json: 1 images have the file of another one, each with objects of its own: 1.png (2 times)"
    )


def test_many_doubts_are_counted(small_coco: SmallCoco) -> None:
    thin = [annotation(number, 31, 7, [5, 5, 0.5, 20], [], 10) for number in range(10, 22)]
    small_coco.change("train", lambda document: document["annotations"].extend(thin))
    note = read_coco(small_coco.data).notes[0]
    assert note.startswith("instances_train.json: 12 boxes are less than 1 px")
    assert note.endswith("; and 9 more")


@pytest.mark.parametrize("density", [0.001, 0.02, 0.5])
def test_the_extent_of_run_lengths_is_pycocotools(density: float) -> None:
    draw = torch.Generator().manual_seed(1)
    for height, width in ((60, 80), (1, 9), (9, 1), (7, 5)):
        for _ in range(20):
            pixels = (torch.rand(height, width, generator=draw) < density).to(torch.uint8).numpy()
            rle = coco_masks.encode(pixels.copy(order="F"))
            left, top, across, down = coco_masks.toBbox(rle).tolist()
            expected = (left, top, left + across, top + down) if pixels.any() else None
            assert _extent({"size": [height, width], "counts": rle["counts"].decode()}) == expected
