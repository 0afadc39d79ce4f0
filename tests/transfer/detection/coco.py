"""A small COCO data set of constructed rows that a test may damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transfer.detection.data.recipe import CocoData

Document = dict[str, Any]
CATEGORIES = [{"id": 7, "name": "kite"}, {"id": 3, "name": "sheep"}]
RECTANGLE = [10.5, 10.0, 40.5, 10.0, 40.5, 30.0, 10.5, 30.0]
TRIANGLE = [50.0, 5.25, 60.0, 35.75, 45.0, 33.0]


def places(root: Path) -> CocoData:
    named = {kind: f"annotations/instances_{kind}.json" for kind in ("train", "test")}
    return CocoData(
        root=str(root),
        train_images="train",
        test_images="test",
        train_annotations=named["train"],
        test_annotations=named["test"],
    )


class SmallCoco:
    """Three images of 80x60 in each set: objects of every form of mask, only a crowd, nothing."""

    def __init__(self, root: Path) -> None:
        self.root, self.data = root, places(root)
        for split in ("train", "test"):
            (root / split).mkdir(parents=True)
            for number in (1, 2, 3):
                pixels = np.random.RandomState(number).randint(0, 255, (60, 80, 3), np.uint8)
                Image.fromarray(pixels).save(self.image(split, number))
            self.annotations(split).parent.mkdir(exist_ok=True)
            self.annotations(split).write_text(json.dumps(rows()))

    def image(self, split: str, number: int) -> Path:
        return self.root / split / f"{number}.png"

    def annotations(self, split: str) -> Path:
        return self.root / "annotations" / f"instances_{split}.json"

    def change(self, split: str, how: Callable[[Document], object]) -> Path:
        """Change the rows of a file, and return the file."""
        file = self.annotations(split)
        document = json.loads(file.read_text())
        how(document)
        file.write_text(json.dumps(document))
        return file


def rows() -> Document:
    from pycocotools import mask

    pixels = np.zeros((60, 80), np.uint8, order="F")
    pixels[40:55, 20:33] = 1
    compressed = {"size": [60, 80], "counts": mask.encode(pixels)["counts"].decode()}
    crowd = {"size": [60, 80], "counts": [60 * 70, 60 * 5, 60 * 5]}
    images = [{"id": 30 + number, "file_name": f"{number}.png", "width": 80, "height": 60} for number in (1, 2, 3)]
    annotations = [
        annotation(1, 31, 7, [10.5, 10, 30, 20], [RECTANGLE], 600.0),
        annotation(2, 31, 3, [10.5, 5.25, 49.5, 30.5], [RECTANGLE, TRIANGLE], 900.0),
        annotation(3, 31, 3, [20, 40, 13, 15], compressed, 195),
        annotation(4, 31, 7, [70, 0, 5, 60], crowd, 300, crowd=1),
        annotation(5, 32, 7, [70, 0, 5, 60], crowd, 300, crowd=1),
    ]
    return {"info": {}, "images": images, "annotations": annotations, "categories": CATEGORIES}


def annotation(
    number: int, image: int, category: int, bbox: list[float], segmentation: Any, area: float, crowd: int = 0
) -> Document:
    ids = {"id": number, "image_id": image, "category_id": category}
    return {**ids, "bbox": bbox, "segmentation": segmentation, "area": area, "iscrowd": crowd}
