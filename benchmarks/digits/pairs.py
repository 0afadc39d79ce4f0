"""The embedded data set as pairs of pictures in SPair-71k's layout: each scan twice, related by a known affine map.

JPEGImages/digitN/NAME.jpg, PairAnnotation/test/NAME.json. Texture and colour of both pictures differ; the keypoints lie
on the stroke, far from one another, and where they are on the second picture follows from the map. The scans are those
of the test set.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.digits.canvas import DARK, STROKE, ink_of, pixels_of, save_picture, texture
from benchmarks.digits.embedded import write_once
from benchmarks.digits.folders import labelled_scans
from benchmarks.files.atomic import make_folder, write_atomically

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
PICTURE_SIZE_PX = 64
PAIRS_PER_DIGIT = 6
KEYPOINTS = 8
DIGIT_SIZE_PX = 40
"""The side of a digit's square on the first picture; it lies anywhere."""
LARGEST_TURN_DEGREES, LARGEST_STRETCH = 20.0, 1.2
"""By how much a digit is turned to either side, and each of its sides stretched or shortened."""
FOLDERS = ("JPEGImages", "PairAnnotation")
MARK = "digit_pairs.json"


class Shown(NamedTuple):
    """A picture [H, W, 3] uint8, keypoints [N, 2] (x, y) on it, and the stroke's box (left, top, right, bottom)."""

    pixels: np.ndarray
    points: np.ndarray
    box: tuple[int, int, int, int]


def write_digit_pairs(root: Path) -> str:
    """Write the pictures and their annotations below `root` unless they are there and whole; return their fingerprint.

    Raises as `write_digits` does.
    """
    return write_once(root, MARK, VERSION, FOLDERS, _write)


def _write(root: Path) -> None:
    import numpy as np

    # RandomState, not Generator: its numbers are promised to stay the same in every NumPy.
    draw, made = np.random.RandomState(80), dict.fromkeys(range(10), 0)
    make_folder(root / "PairAnnotation" / "test")
    for digit, scan in labelled_scans("test"):
        if made[digit] == PAIRS_PER_DIGIT:
            continue
        number, category = sum(made.values()), f"digit{digit}"
        made[digit] += 1
        shown = dict(zip(("src", "trg"), _pair(draw, scan), strict=True))
        names = {which: f"{number:04d}_{which}.jpg" for which in shown}
        for which, each in shown.items():
            save_picture(each.pixels, root / "JPEGImages" / category / names[which])
        pair = f"{number:06d}-{Path(names['src']).stem}-{Path(names['trg']).stem}:{category}"
        document = {"filename": pair, "category": category, "mirror": 0, "kps_ids": [*map(str, range(KEYPOINTS))]}
        for which, each in shown.items():
            document[f"{which}_imname"], document[f"{which}_imsize"] = names[which], [PICTURE_SIZE_PX] * 2 + [3]
            document[f"{which}_bndbox"], document[f"{which}_kps"] = each.box, each.points.round(3).tolist()
        path = root / "PairAnnotation" / "test" / f"{pair}.json"
        write_atomically(path, json.dumps(document).encode())


def _pair(draw: np.random.RandomState, scan: np.ndarray) -> tuple[Shown, Shown]:
    """Draw a scan anywhere, and once more through an affine map that keeps all of its keypoints on the picture."""
    import numpy as np
    from scipy.ndimage import affine_transform

    ink = np.zeros((PICTURE_SIZE_PX, PICTURE_SIZE_PX))
    down, right = draw.randint(0, PICTURE_SIZE_PX - DIGIT_SIZE_PX + 1, 2)
    ink[down : down + DIGIT_SIZE_PX, right : right + DIGIT_SIZE_PX] = ink_of(scan, DIGIT_SIZE_PX)
    points = _spread(np.argwhere(ink >= STROKE), draw)
    middle = np.argwhere(ink >= STROKE).mean(axis=0)
    while True:
        turn = np.radians(draw.uniform(-LARGEST_TURN_DEGREES, LARGEST_TURN_DEGREES))
        stretch = LARGEST_STRETCH ** draw.uniform(-1, 1, 2)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * stretch
        offset = draw.uniform(0.3, 0.7, 2) * PICTURE_SIZE_PX - matrix @ middle
        moved = points @ matrix.T + offset
        if (moved >= 1).all() and (moved <= PICTURE_SIZE_PX - 2).all():
            break
    inverse = np.linalg.inv(matrix)
    other = affine_transform(ink, inverse, -inverse @ offset, order=1)
    return _shown(draw, ink, points), _shown(draw, other, moved)


def _spread(places: np.ndarray, draw: np.random.RandomState) -> np.ndarray:
    """Return KEYPOINTS of places [N, 2], each as far from those before it as can be."""
    import numpy as np

    chosen = [places[draw.randint(len(places))]]
    while len(chosen) < KEYPOINTS:
        apart = np.linalg.norm(places[:, None] - np.array(chosen)[None], axis=2).min(axis=1)
        chosen.append(places[apart.argmax()])
    return np.array(chosen, float)


def _shown(draw: np.random.RandomState, ink: np.ndarray, points: np.ndarray) -> Shown:
    """Draw ink [H, W] in a light colour on a texture; points are (row, column)."""
    import numpy as np

    canvas = texture(draw, PICTURE_SIZE_PX, DARK)
    canvas += ink[..., None] * (draw.uniform(185, 255, 3) - canvas)
    rows, columns = (ink >= STROKE).nonzero()
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    return Shown(pixels_of(np.clip(canvas, 0, 255)), points[:, ::-1], box)
