"""Images with boxes and masks in COCO's format: read, checked, and with categories numbered from 0.

root/train2017/000000000009.jpg      root/annotations/instances_train2017.json
root/val2017/000000000139.jpg        root/annotations/instances_val2017.json
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.errors import UserError
from benchmarks.verbs.command import require_root
from transfer.detection.data.coco_file import SHOWN, CocoFile, Row, read_coco_file, refuse, without_collection
from transfer.detection.data.doubts import are_corners, doubts, refuse_shares
from transfer.detection.data.recipe import CocoData

OVERHANG_PX = 2.0
"""How far COCO's own boxes reach over an image's edge, by rounding."""
SMALLEST_POLYGON = 6
"""How many numbers a polygon has at least: three corners."""

Segmentation = Sequence[Sequence[float]] | Mapping[str, Any]
"""Polygons [x0, y0, x1, y1, ...], or COCO's RLE: `size` [height, width] and `counts`."""


class Category(NamedTuple):
    """A category of objects, as the annotations' file has it."""

    id: int
    """The file's own number, used only to read and write files; the rest of this program counts categories from 0."""
    name: str


class Annotation(NamedTuple):
    """One object, or a crowd of them, in pixels of the image."""

    category: int
    """Its position in `CocoSets.categories`."""
    box_xywh: tuple[float, float, float, float]
    """Left, top, width and height as the file has them; the box may reach up to OVERHANG_PX over the image's edge."""
    segmentation: Segmentation | None
    area: float
    """The area of the mask in square pixels, as the file has it."""
    crowd: bool
    """Whether it is a region of many objects: not trained on, and neither right nor wrong to detect."""

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        x, y, width, height = self.box_xywh
        return x, y, x + width, y + height


class Picture(NamedTuple):
    """An image and the objects on it."""

    id: int
    path: Path
    width: int
    height: int
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True)
class CocoSets:
    """A training and a test set with the same categories."""

    root: Path
    train: list[Picture]
    """The training images with at least one object that is no crowd."""
    test: list[Picture]
    """All test images, those without an object included."""
    categories: tuple[Category, ...]
    """The categories in the order of their ids."""
    fingerprint: Fingerprint
    has_masks: bool
    """Whether every object has a segmentation."""
    notes: tuple[str, ...]
    """Sentences for the user about what was left out of the files."""

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)


@without_collection()
def read_coco(data: CocoData) -> CocoSets:
    """Read and check both sets.

    Raises UserError, naming rows of a file, for an entry that refers to something missing or lies outside its image,
    for boxes in another unit or form, and for more degenerate annotations than `data.max_degenerate`. Images are opened
    only by the loader.
    """
    root = require_root(data.root)
    train_file, test_file = (read_coco_file(root / name) for name in (data.train_annotations, data.test_annotations))
    categories = _common_categories(train_file, test_file)
    train = _read_set(train_file, root / data.train_images, categories, data.max_degenerate)
    test = _read_set(test_file, root / data.test_images, categories, data.max_degenerate)
    for part in (train, test):
        _require_objects(part)
    objects = [picture for picture in train.pictures if any(not each.crowd for each in picture.annotations)]
    parts = {"train annotations": train_file.sha256, "test annotations": test_file.sha256}
    return _sets(root, categories, replace(train, pictures=objects), test, parts)


@without_collection()
def read_test_coco(data: CocoData) -> CocoSets:
    """Read and check the test set alone, for a model that is trained already. Raises as `read_coco` does."""
    root = require_root(data.root)
    file = read_coco_file(root / data.test_annotations)
    categories = _categories(file)
    test = _read_set(file, root / data.test_images, categories, data.max_degenerate)
    _require_objects(test)
    return _sets(root, categories, None, test, {"test annotations": file.sha256})


def _require_objects(part: _Set) -> None:
    if not part.objects:
        rule = "at least one image with an annotation that is no crowd"
        raise UserError.about(str(part.path), f"{len(part.pictures)} images", rule, "name a file of instances")


def _sets(
    root: Path, categories: tuple[Category, ...], train: _Set | None, test: _Set, parts: dict[str, str]
) -> CocoSets:
    read = [test] if train is None else [train, test]
    files, sampled = [picture.path for part in read for picture in part.pictures], [each.path for each in test.pictures]
    mark = fingerprint(root, files, parts=parts, sampled=sampled)
    notes = [note for part in read for note in part.notes]
    without, total = sum(part.without_mask for part in read), sum(part.objects for part in read)
    if 0 < without < total:
        notes.append(f"{without} of {total} objects have no segmentation: there are boxes, but no masks")
    trained = [] if train is None else train.pictures
    return CocoSets(root, trained, test.pictures, categories, mark, without == 0, tuple(notes))


@dataclass(frozen=True)
class _Set:
    path: Path
    pictures: list[Picture]
    notes: list[str]

    @property
    def objects(self) -> int:
        return sum(not each.crowd for picture in self.pictures for each in picture.annotations)

    @property
    def without_mask(self) -> int:
        found = (each for picture in self.pictures for each in picture.annotations)
        return sum(not each.crowd and each.segmentation is None for each in found)


def _categories(file: CocoFile) -> tuple[Category, ...]:
    """Return a file's categories in the order of their ids. Raises UserError where it has none."""
    found = tuple(sorted(Category(row["id"], row["name"]) for row in file.categories))
    if not found:
        raise UserError.about(str(file.path), "categories: []", "at least one category", "add what is missing")
    return found


def _common_categories(train: CocoFile, test: CocoFile) -> tuple[Category, ...]:
    first, second = _categories(train), _categories(test)
    other = sorted(set(first) ^ set(second))
    differing = (f"{each.id} {each.name}, only in {(train if each in first else test).path.name}" for each in other)
    refuse(test.path, differing, f"the same categories as {train.path}", "give both files the same ids and names")
    return first


def _read_set(file: CocoFile, folder: Path, categories: tuple[Category, ...], max_degenerate: int) -> _Set:
    images = {row["id"]: row for row in file.images}
    numbers = {category.id: number for number, category in enumerate(categories)}
    _require_files(file, folder)
    _require_references(file, images, numbers)
    refuse_shares(file)
    _require_inside(file, images)
    degenerate = {row["id"]: text for row in file.annotations if (text := _degenerate(row, images[row["image_id"]]))}
    if len(degenerate) > max_degenerate:
        rule = f"at most {max_degenerate} annotations without area (data.max_degenerate)"
        refuse(file.path, degenerate.values(), rule, "remove them, or allow more with data.max_degenerate=N")
    kept = [row for row in file.annotations if row["id"] not in degenerate]
    on_image: defaultdict[int, list[Annotation]] = defaultdict(list)
    for row in kept:
        on_image[row["image_id"]].append(_annotation(row, numbers))
    pictures = [
        Picture(number, folder / row["file_name"], row["width"], row["height"], tuple(on_image[number]))
        for number, row in images.items()
    ]
    notes = [f"{file.path.name}: left out {text}" for text in degenerate.values()]
    return _Set(file.path, pictures, notes + doubts(file.path, kept, images))


def _annotation(row: Row, numbers: Mapping[int, int]) -> Annotation:
    x, y, width, height = row["bbox"]
    outline = row.get("segmentation") or None
    crowd = row.get("iscrowd", 0) == 1
    return Annotation(numbers[row["category_id"]], (x, y, width, height), outline, row["area"], crowd)


def _require_files(file: CocoFile, folder: Path) -> None:
    """Raise UserError where images are missing; folders are listed as a whole, as a set has 100,000 images."""
    there: dict[str, set[str]] = {}
    for row in file.images:
        parent = os.path.dirname(row["file_name"])
        if parent not in there:
            place = folder / parent
            there[parent] = set(os.listdir(place)) if place.is_dir() else set()
    lost = (
        f"image {row['id']}: {folder / row['file_name']}"
        for row in file.images
        if os.path.basename(row["file_name"]) not in there[os.path.dirname(row["file_name"])]
    )
    refuse(file.path, lost, "a file for every image", "check data.root and the folder of images, or remove the entries")


def _require_references(file: CocoFile, images: Mapping[int, Row], numbers: Mapping[int, int]) -> None:
    rows = file.annotations
    lost = (f"annotation {row['id']}: image {row['image_id']}" for row in rows if row["image_id"] not in images)
    refuse(file.path, lost, "an image for every annotation", "add the images, or remove the annotations")
    unknown = (
        f"annotation {row['id']}: category {row['category_id']}" for row in rows if row["category_id"] not in numbers
    )
    known = ", ".join(map(str, list(numbers)[: 2 * SHOWN])) + (", ..." if len(numbers) > 2 * SHOWN else "")
    refuse(file.path, unknown, f"categories of the file ({known})", "add the categories, or remove the annotations")


def _require_inside(file: CocoFile, images: Mapping[int, Row]) -> None:
    rule = f"boxes, polygons and masks on their image (a box may reach {OVERHANG_PX:g} px over its edge)"
    faults = [text for row in file.annotations if (text := _outside(row, images[row["image_id"]]))]
    corners = "; read as corners [left, top, right, bottom], all boxes lie on their images"
    remedy = "bbox is [x, y, width, height] in pixels of the image: correct or remove these"
    refuse(file.path, faults, rule, remedy + corners * (len(faults) > 0 and are_corners(file, images)))


def _outside(row: Row, image: Row) -> str | None:
    width, height, (x, y, w, h) = image["width"], image["height"], row["bbox"]
    where = f"annotation {row['id']}, image {image['id']} of {width}x{height}: "
    if x < -OVERHANG_PX or y < -OVERHANG_PX or x + w > width + OVERHANG_PX or y + h > height + OVERHANG_PX:
        return f"{where}bbox {row['bbox']}"
    outline = row.get("segmentation")
    if isinstance(outline, dict):
        return f"{where}RLE of size {outline['size']}" if outline["size"] != [height, width] else None
    return next((f"{where}{fault}" for fault in _polygons_outside(outline or [], max(width, height))), None)


def _polygons_outside(polygons: Sequence[Sequence[float]], longer: int) -> Iterator[str]:
    """Yield a text for each polygon with a corner so far away that COCO's tools, which clip it, cannot draw it."""
    for polygon in polygons:
        if polygon and not (min(polygon) >= -longer and max(polygon) <= 2 * longer):
            yield f"a polygon from {min(polygon):g} to {max(polygon):g}"


def _degenerate(row: Row, image: Row) -> str | None:
    """Return what is wrong with an annotation that covers nothing, of which COCO's own files have a few; else None."""
    x, y, w, h = row["bbox"]
    where = f"annotation {row['id']}: "
    if min(x + w, image["width"]) <= max(x, 0) or min(y + h, image["height"]) <= max(y, 0):
        return f"{where}bbox {row['bbox']}"
    if row["area"] <= 0:
        return f"{where}area {row['area']}"
    outline = row.get("segmentation")
    for polygon in outline if isinstance(outline, list) else ():
        if len(polygon) < SMALLEST_POLYGON or len(polygon) % 2:
            return f"{where}a polygon of {len(polygon)} numbers"
    return None
