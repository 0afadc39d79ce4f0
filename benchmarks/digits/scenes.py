"""The embedded data set as scenes to segment: 2 to 4 digits on a textured canvas, in the layout of ADE20K.

images/SPLIT/NAME.png and annotations/SPLIT/NAME.png. Mask values: 0 ignored (a thin border around every digit, and
texture far from any), 1 background, 2 to 11 the digits 0 to 9. The scans keep their split: training scenes hold the
200 labelled training scans, validation scenes those of the test set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.digits.canvas import DARK, STROKE, Group, groups, ink_of, pixels_of, save_picture, texture
from benchmarks.digits.embedded import write_once
from benchmarks.files.atomic import write_atomically

if TYPE_CHECKING:
    import numpy as np

VERSION = 2
CELL_PX, CELLS = 32, 2
"""A scene has CELLS x CELLS cells of the size of a digit's own image. An encoder pretrained on those knows a digit only
where its patches lie as they did there: anywhere else its features are worth little more than a random encoder's."""
SCENE_SIZE_PX = CELLS * CELL_PX
TRAIN_SCENES, TEST_SCENES = 200, 100
DIGITS_PER_SCENE = (2, 3, 4)
DIGIT_SIZE_PX = (28, 32)
"""Smallest and largest side of a digit's square, which lies anywhere in its cell."""
BORDER = 0.1
"""Ink, as a share of the strongest, from which a pixel is ignored; from STROKE on it belongs to the digit."""
IGNORED, BACKGROUND, FIRST_DIGIT = 0, 1, 2
FOLDERS = ("images", "annotations")
MARK = "digit_scenes.json"
CLASSES = ("background", *(f"digit {digit}" for digit in range(10)))


@dataclass(frozen=True)
class Scene:
    """A picture [H, W, 3] uint8 and its mask [H, W] uint8."""

    picture: np.ndarray
    mask: np.ndarray


def write_digit_scenes(root: Path) -> str:
    """Write the scenes below `root` unless they are there and whole; return their fingerprint.

    Raises as `write_digits` does.
    """
    return write_once(root, MARK, VERSION, FOLDERS, _write)


def _write(root: Path) -> None:
    for split, source, count in (("training", "train", TRAIN_SCENES), ("validation", "test", TEST_SCENES)):
        for number, scene in enumerate(_scenes(source, count)):
            for kind, pixels in zip(FOLDERS, (scene.picture, scene.mask), strict=True):
                save_picture(pixels, root / kind / split / f"{number:04d}.png")
    rows = "".join(f"{number}\t{name}\n" for number, name in enumerate(CLASSES, start=1))
    write_atomically(root / f"objectInfo{len(CLASSES)}.txt", f"Idx\tName\n{rows}".encode())


def _scenes(split: str, count: int) -> Iterator[Scene]:
    return (_scene(group) for group in groups(split, count, DIGITS_PER_SCENE, seed=20))


def _scene(group: Group) -> Scene:
    """Draw scans, each in a cell of its own, on a texture.

    No digit touches the background: what lies between is ignored.
    """
    import numpy as np

    draw = group.draw
    picture = texture(draw, SCENE_SIZE_PX, DARK)
    mask = np.full((SCENE_SIZE_PX, SCENE_SIZE_PX), IGNORED, np.uint8)
    cells = draw.permutation(CELLS**2)[: len(group.scans)]
    for cell, (digit, scan) in zip(cells, group.scans, strict=True):
        size = int(draw.randint(DIGIT_SIZE_PX[0], DIGIT_SIZE_PX[1] + 1))
        top, left = np.multiply(divmod(cell, CELLS), CELL_PX) + draw.randint(0, CELL_PX - size + 1, 2)
        window = (slice(top, top + size), slice(left, left + size))
        mask[window] = BACKGROUND
        _draw(picture[window], mask[window], ink_of(scan, size), digit, draw.uniform(185, 255, 3))
    inside = np.pad(mask >= FIRST_DIGIT, 1)
    near = inside[:-2, 1:-1] | inside[2:, 1:-1] | inside[1:-1, :-2] | inside[1:-1, 2:]
    mask[near & (mask == BACKGROUND)] = IGNORED
    return Scene(pixels_of(picture), mask)


def _draw(picture: np.ndarray, mask: np.ndarray, ink: np.ndarray, digit: int, colour: np.ndarray) -> None:
    """Draw a digit in a light colour into a window of a scene; both arrays are changed."""
    picture += ink[..., None] * (colour - picture)
    mask[ink >= BORDER] = IGNORED
    mask[ink >= STROKE] = FIRST_DIGIT + digit
