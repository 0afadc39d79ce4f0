"""The embedded data set as pictures with depths: digits on a texture that recedes, nearer ones larger and brighter.

train/NAME.png with train/NAME_depth.png, the same for test, and the lists digits_train.txt and digits_test.txt of lines
`IMAGE DEPTH FOCAL`, as NYUv2 is distributed. Depth maps have 16 bits, in millimetres; 0 is unknown (the border of every
digit's stroke). The scans keep their split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.digits.canvas import DARK, STROKE, Group, groups, ink_of, pixels_of, save_picture, texture
from benchmarks.digits.embedded import write_once
from benchmarks.files.atomic import write_atomically

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
CELL_PX, CELLS = 32, 2
"""A picture has CELLS x CELLS cells of the size of a digit's own image, as those to segment have."""
PICTURE_SIZE_PX = CELLS * CELL_PX
SPLITS = {"train": 160, "test": 40}
"""Pictures of each split."""
DIGITS_PER_PICTURE = (2, 3, 4)
NEAREST_M, FARTHEST_M = 1.0, 5.0
"""How far away digits are."""
GROUND_M = (9.0, 6.0)
"""How far away the texture is, in the first and in the last row."""
LARGEST_PX, SMALLEST_PX = 32, 20
"""The side of a digit's square at NEAREST_M and at FARTHEST_M."""
BORDER = 0.1
"""Ink, as a share of the strongest, from which a pixel's depth is unknown; from STROKE on it is the digit's."""
FOCAL_PX = 64.0
MARK = "digit_depths.json"


class DepthPicture(NamedTuple):
    """A picture [H, W, 3] uint8 and its depth [H, W] uint16 in millimetres."""

    pixels: np.ndarray
    depth: np.ndarray


def write_digit_depths(root: Path) -> str:
    """Write the pictures and their lists below `root` unless they are there and whole; return their fingerprint.

    Raises as `write_digits` does.
    """
    return write_once(root, MARK, VERSION, tuple(SPLITS), _write)


def _write(root: Path) -> None:
    for split, count in SPLITS.items():
        lines = []
        for number, (pixels, depth) in enumerate(_pictures(split, count)):
            names = [f"{split}/{number:04d}{part}.png" for part in ("", "_depth")]
            for name, values in zip(names, (pixels, depth), strict=True):
                save_picture(values, root / name)
            lines.append(f"/{names[0]} /{names[1]} {FOCAL_PX}\n")
        write_atomically(root / f"digits_{split}.txt", "".join(lines).encode())


def _pictures(split: str, count: int) -> Iterator[DepthPicture]:
    return (_picture(group) for group in groups(split, count, DIGITS_PER_PICTURE, seed=60))


def _picture(group: Group) -> DepthPicture:
    """Draw scans, each in a cell of its own and at a distance of its own, on a texture that recedes upwards."""
    import numpy as np

    draw = group.draw
    ground = np.linspace(*GROUND_M, PICTURE_SIZE_PX)[:, None].repeat(PICTURE_SIZE_PX, 1)
    picture, depth = texture(draw, PICTURE_SIZE_PX, DARK) * (GROUND_M[1] / ground)[..., None], ground
    cells = draw.permutation(CELLS**2)[: len(group.scans)]
    for cell, (_, scan) in zip(cells, group.scans, strict=True):
        distance = draw.uniform(NEAREST_M, FARTHEST_M)
        share = (distance - NEAREST_M) / (FARTHEST_M - NEAREST_M)
        size = round(LARGEST_PX + share * (SMALLEST_PX - LARGEST_PX))
        top, left = np.multiply(divmod(cell, CELLS), CELL_PX) + draw.randint(0, CELL_PX - size + 1, 2)
        rows, columns = slice(top, top + size), slice(left, left + size)
        ink = ink_of(scan, size)
        picture[rows, columns] += ink[..., None] * (255 - 150 * share - picture[rows, columns])
        window = depth[rows, columns]
        window[ink >= BORDER] = 0
        window[ink >= STROKE] = distance
    return DepthPicture(pixels_of(picture), np.round(1000 * depth).astype(np.uint16))
