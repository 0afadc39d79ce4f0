"""COCO's format: read as torchvision and pycocotools read it; every mistake named with its file, ids and values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.errors import UserError
from tests.transfer.detection.coco import RECTANGLE, SmallCoco, annotation, places
from transfer.detection.data.coco import Category, read_coco
from transfer.detection.data.coco_file import run_lengths
from transfer.detection.data.outlines import drawn

Document = dict[str, Any]


def test_annotations_are_those_that_torchvision_and_pycocotools_read(small_coco: SmallCoco) -> None:
    from torchvision.datasets import CocoDetection

    found = read_coco(small_coco.data)
    witness = CocoDetection(str(small_coco.root / "test"), str(small_coco.annotations("test")))
    assert [picture.id for picture in found.test] == witness.ids
    for picture, (image, rows) in zip(found.test, witness, strict=True):
        assert (picture.width, picture.height) == image.size
        assert len(picture.annotations) == len(rows)
        for each, row in zip(picture.annotations, rows, strict=True):
            assert found.categories[each.category].id == row["category_id"]
            assert (list(each.box_xywh), each.area, each.crowd) == (row["bbox"], row["area"], bool(row["iscrowd"]))
            x, y, width, height = row["bbox"]
            assert each.box_xyxy == (x, y, x + width, y + height)
            assert each.segmentation is not None
            assert (drawn(each.segmentation, 60, 80) == witness.coco.annToMask(row)).all()


def test_the_digits_are_read_as_pycocotools_reads_them(digit_boxes: Path) -> None:
    from pycocotools.coco import COCO

    found = read_coco(places(digit_boxes))
    witness = COCO(f"{digit_boxes}/annotations/instances_train.json")
    assert len(found.train) == len(witness.imgs) == 300
    for picture in found.train:
        rows = witness.imgToAnns[picture.id]
        masks = [drawn(each.segmentation, 64, 64) for each in picture.annotations if each.segmentation is not None]
        assert (np.stack(masks) == np.stack([witness.annToMask(row) for row in rows])).all()


def test_training_takes_images_with_objects_and_tests_take_all(small_coco: SmallCoco) -> None:
    found = read_coco(small_coco.data)
    assert [picture.id for picture in found.train] == [31], "32 has only a crowd, 33 nothing"
    assert [len(picture.annotations) for picture in found.test] == [4, 1, 0]
    assert found.categories == (Category(3, "sheep"), Category(7, "kite")), "in the order of ids"
    assert (found.has_masks, found.notes) == (True, ())


def test_compressed_run_lengths_are_pycocotools_own() -> None:
    from pycocotools import mask

    draw = np.random.RandomState(0)
    for density in (0.001, 0.1, 0.5, 1.0):
        pixels = np.asfortranarray((draw.uniform(size=(211, 173)) < density).astype(np.uint8))
        values = pixels.ravel(order="F")
        edges = np.flatnonzero(np.diff(values, prepend=0))
        counts = mask.encode(pixels)["counts"].decode()
        assert run_lengths(counts) == np.diff([0, *edges, values.size]).tolist()


def test_the_fingerprint_covers_images_and_annotations(small_coco: SmallCoco) -> None:
    marks = [read_coco(small_coco.data).fingerprint.sha256]
    small_coco.change("test", lambda document: document["annotations"][0].update(area=601))
    marks.append(read_coco(small_coco.data).fingerprint.sha256)
    small_coco.image("train", 2).write_bytes(small_coco.image("train", 1).read_bytes())
    small_coco.image("train", 1).write_bytes(small_coco.image("train", 3).read_bytes())
    marks.append(read_coco(small_coco.data).fingerprint.sha256)
    assert len(set(marks)) == 3


def first(document: Document) -> Document:
    row: Document = document["annotations"][0]
    return row


def setting(**fields: Any) -> Callable[[Document], object]:
    return lambda document: first(document).update(fields)


def image_setting(**fields: Any) -> Callable[[Document], object]:
    return lambda document: document["images"][0].update(fields)


FAULTS: dict[str, tuple[Callable[[Document], object], str]] = {
    "annotation without image": (setting(image_id=99), "annotation 1: image 99"),
    "unknown category": (setting(category_id=5), "annotation 1: category 5\n  rule:   categories of the file (3, 7)"),
    "image without file": (image_setting(file_name="a/9.png"), "/train/a/9.png"),
    "path out of the folder": (image_setting(file_name="../9.png"), "images[0]: file_name '../9.png'"),
    "box far over the edge": (setting(bbox=[60, 10, 25, 20]), "image 31 of 80x60: bbox [60, 10, 25, 20]"),
    "box wholly outside": (setting(bbox=[200, 10, 25, 20]), "image 31 of 80x60: bbox [200, 10, 25, 20]"),
    "corners for sizes": (setting(bbox=[41, 31, 71, 50]), "image 31 of 80x60: bbox [41, 31, 71, 50]"),
    "box left of the image": (setting(bbox=[-9, 10, 25, 20]), "image 31 of 80x60: bbox [-9, 10, 25, 20]"),
    "polygon far away": (setting(segmentation=[[1, 1, 9e9, 1, 9, 9]]), "a polygon from 1 to 9e+09"),
    "RLE of another size": (
        setting(segmentation={"size": [80, 60], "counts": [80 * 60]}),
        "image 31 of 80x60: RLE of size [80, 60]",
    ),
    "RLE that does not fill its size": (
        setting(segmentation={"size": [60, 80], "counts": [10, 20]}),
        "annotations[0]: segmentation.counts have 30 pixels, size is [60, 80]",
    ),
    "compressed RLE that is cut off": (
        lambda document: document["annotations"][2]["segmentation"].update(counts="ZV1"),
        "annotations[2]: segmentation.counts have 1226 pixels, size is [60, 80]",
    ),
    "RLE without counts": (setting(segmentation={"size": [60, 80]}), "neither polygons nor an RLE"),
    "polygon of words": (setting(segmentation=[["a"]]), "segmentation has a polygon that is no list of numbers"),
    "duplicate annotation": (setting(id=3), "id 3 (2 times)\n  rule:   an id of its own for each of the annotations"),
    "duplicate image": (image_setting(id=33), "id 33 (2 times)\n  rule:   an id of its own for each of the images"),
    "duplicate category": (lambda document: document["categories"][0].update(id=3), "each of the categories"),
    "box of three numbers": (setting(bbox=[1, 2, 3]), "annotations[0]: bbox [1, 2, 3] is not [x, y, width, height]"),
    "infinite box": (setting(bbox=[1, 2, 3, 10**400]), "bbox [1, 2, 3, 1"),
    "text for an id": (setting(image_id="31"), "annotations[0]: image_id '31' is no whole number"),
    "no area": (lambda document: first(document).pop("area"), "annotations[0]: has no area"),
    "crowd of two": (setting(iscrowd=2), "annotations[0]: iscrowd 2 is neither 0 nor 1"),
    "image without height": (image_setting(height=0), "images[0]: width and height are 80 and 0"),
    "nameless category": (lambda document: document["categories"][0].update(name=None), "categories[0]: name None"),
    "row that is none": (lambda document: document["annotations"].append(7), "annotations[5]: 7 is no object"),
    "no list of images": (
        lambda document: document.pop("images"),
        "images: NoneType\n  rule:   COCO's object detection format",
    ),
    "results, not annotations": (lambda document: document.update(annotations={}), "annotations: dict"),
    "no object": (
        lambda document: document.update(annotations=[]),
        "3 images\n  rule:   at least one image with an annotation",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_is_named(small_coco: SmallCoco, fault: str) -> None:
    change, words = FAULTS[fault]
    file = small_coco.change("train", change)
    with pytest.raises(UserError) as caught:
        read_coco(small_coco.data)
    assert str(caught.value).startswith(f"{file} = ")
    assert words in str(caught.value)
    assert "remedy" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[]", "list\n  rule:   COCO's object detection format"),
        (b'{"images": [', "JSON in COCO's object detection format"),
        (b'{"images": [NaN]}', "JSON in"),
        (b"[" * 100_000, "JSON in"),
        (b"\xff\xfe", "JSON in"),
        (None, "No such file or directory"),
    ],
)
def test_what_is_no_coco_file_is_named(small_coco: SmallCoco, content: bytes | None, words: str) -> None:
    file = small_coco.annotations("test")
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_coco(small_coco.data)
    assert str(caught.value).startswith(f"{file} = ")
    assert words in str(caught.value)


def test_both_sets_have_the_same_categories(small_coco: SmallCoco) -> None:
    small_coco.change("test", lambda document: document["categories"][1].update(name="goat"))
    with pytest.raises(UserError) as caught:
        read_coco(small_coco.data)
    assert "3 goat, only in instances_test.json; 3 sheep, only in instances_train.json" in str(caught.value)


def test_many_mistakes_are_counted(small_coco: SmallCoco) -> None:
    lost = [annotation(number, 99, 7, [1, 1, 9, 9], [RECTANGLE], 81) for number in range(10, 22)]
    small_coco.change("test", lambda document: document["annotations"].extend(lost))
    with pytest.raises(UserError, match=r"annotation 10: image 99; .*annotation 14: image 99; and 7 more\n"):
        read_coco(small_coco.data)


def test_a_box_may_reach_over_the_edge_as_cocos_do(small_coco: SmallCoco) -> None:
    small_coco.change("train", setting(bbox=[60, -0.5, 21.5, 20]))
    (picture,) = read_coco(small_coco.data).train
    assert picture.annotations[0].box_xywh == (60, -0.5, 21.5, 20), "as the file has it: scores are COCO's"


DEGENERATE: dict[str, tuple[Callable[[Document], object], str]] = {
    "no width": (setting(bbox=[10, 10, 0, 20]), "annotation 1: bbox [10, 10, 0, 20]"),
    "negative height": (setting(bbox=[10, 30, 30, -20]), "annotation 1: bbox [10, 30, 30, -20]"),
    "nothing inside": (setting(bbox=[80, 10, 1, 20]), "annotation 1: bbox [80, 10, 1, 20]"),
    "no area": (setting(area=0), "annotation 1: area 0"),
    "two corners": (setting(segmentation=[[1, 1, 9, 9]]), "annotation 1: a polygon of 4 numbers"),
    "half a corner": (setting(segmentation=[RECTANGLE[:-1]]), "annotation 1: a polygon of 7 numbers"),
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_a_few_annotations_without_area_are_left_out_and_named(small_coco: SmallCoco, kind: str) -> None:
    change, words = DEGENERATE[kind]
    small_coco.change("train", change)
    found = read_coco(small_coco.data)
    assert found.notes == (f"instances_train.json: left out {words}",)
    assert [len(picture.annotations) for picture in found.train] == [3]
    with pytest.raises(UserError, match="at most 0 annotations without area") as caught:
        read_coco(small_coco.data.model_copy(update={"max_degenerate": 0}))
    assert words in str(caught.value)


def test_boxes_alone_are_enough(small_coco: SmallCoco) -> None:
    def without(document: Document) -> None:
        for row in document["annotations"]:
            del row["segmentation"], row["iscrowd"]

    for split in ("train", "test"):
        small_coco.change(split, without)
    found = read_coco(small_coco.data)
    assert (found.has_masks, found.notes) == (False, ())
    assert not any(each.crowd for picture in found.test for each in picture.annotations)


def test_masks_of_some_objects_are_said_to_be_unused(small_coco: SmallCoco) -> None:
    small_coco.change("train", setting(segmentation=[]))
    found = read_coco(small_coco.data)
    assert not found.has_masks
    assert found.notes == ("1 of 6 objects have no segmentation: there are boxes, but no masks",)


def test_images_may_lie_in_folders_of_their_own(small_coco: SmallCoco) -> None:
    inner = small_coco.root / "train" / "a" / "b"
    inner.mkdir(parents=True)
    small_coco.image("train", 1).rename(inner / "1.png")
    small_coco.change("train", image_setting(file_name="a/b/1.png"))
    assert read_coco(small_coco.data).train[0].path == inner / "1.png"
    assert json.loads(small_coco.annotations("train").read_text())["images"][0]["file_name"] == "a/b/1.png"
