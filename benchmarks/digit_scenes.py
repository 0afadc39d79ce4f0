"""The embedded data set as scenes to segment: several digits on a textured canvas, in the layout of ADE20K.

images/SPLIT/NAME.png and annotations/SPLIT/NAME.png. Mask values: 0 ignored (a thin border around every digit, and
texture far from any), 1 background, 2 to 11 the digits 0 to 9. The scans keep their split: training scenes hold the
200 labelled training scans, validation scenes those of the test set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.digits import labelled_scans
from benchmarks.embedded import write_once
from benchmarks.files import disk_error, make_folder, write_atomically

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

VERSION = 1
SCENE_SIZE_PX = 96
TRAIN_SCENES, TEST_SCENES = 300, 100
DIGITS_PER_SCENE = (1, 2)
DIGIT_SIZE_PX = (48, 76)
"""Smallest and largest side of a digit's square."""
STROKE, BORDER = 0.35, 0.1
"""Ink, as a share of the darkest, from which a pixel belongs to the digit, and from which it is ignored."""
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
    from PIL import Image

    for split, source, count in (("training", "train", TRAIN_SCENES), ("validation", "test", TEST_SCENES)):
        for number, scene in enumerate(_scenes(source, count)):
            for kind, pixels in zip(FOLDERS, (scene.picture, scene.mask), strict=True):
                path = root / kind / split / f"{number:04d}.png"
                make_folder(path.parent)
                try:
                    Image.fromarray(pixels).save(path)
                except OSError as error:
                    raise disk_error(error, path, pixels.nbytes) from error
    rows = "".join(f"{number}\t{name}\n" for number, name in enumerate(CLASSES, start=1))
    write_atomically(root / f"objectInfo{len(CLASSES)}.txt", f"Idx\tName\n{rows}".encode())


def _scenes(split: str, count: int) -> Iterator[Scene]:
    import numpy as np

    scans = list(labelled_scans(split))
    # RandomState, not Generator: its numbers are promised to stay the same in every NumPy.
    draw = np.random.RandomState(20 + len(scans))
    order = np.concatenate(
        [draw.permutation(len(scans)) for _ in range(1 + count * max(DIGITS_PER_SCENE) // len(scans))]
    )
    used = 0
    for _ in range(count):
        digits = int(draw.choice(DIGITS_PER_SCENE))
        yield _scene([scans[row] for row in order[used : used + digits]], draw)
        used += digits


def _scene(scans: list[tuple[int, np.ndarray]], draw: np.random.RandomState) -> Scene:
    """Place scans (digit, [8, 8] uint8) without overlap, as far as there is room, on a texture.

    No digit touches the background: what lies between is ignored.
    """
    import numpy as np

    picture = texture(draw, SCENE_SIZE_PX)
    mask = np.full((SCENE_SIZE_PX, SCENE_SIZE_PX), IGNORED, np.uint8)
    for digit, scan in scans:
        size = int(draw.randint(DIGIT_SIZE_PX[0], DIGIT_SIZE_PX[1] + 1))
        colour, places = draw.uniform(0, 70, 3), draw.randint(0, SCENE_SIZE_PX - size + 1, (20, 2))
        for top, left in places:
            window = (slice(top, top + size), slice(left, left + size))
            if (mask[window] == IGNORED).all():
                mask[window] = BACKGROUND
                _draw(picture[window], mask[window], _ink(scan, size), digit, colour)
                break
    inside = np.pad(mask >= FIRST_DIGIT, 1)
    near = inside[:-2, 1:-1] | inside[2:, 1:-1] | inside[1:-1, :-2] | inside[1:-1, 2:]
    mask[near & (mask == BACKGROUND)] = IGNORED
    return Scene(np.clip(np.round(picture), 0, 255).astype(np.uint8), mask)


def texture(draw: np.random.RandomState, size_px: int) -> np.ndarray:
    """Return a canvas [H, W, 3] float: coarse and fine blots around a random light colour."""
    import numpy as np

    canvas = np.zeros((size_px, size_px, 3)) + draw.uniform(150, 220, 3)
    for cells, strength in ((4, 18), (24, 10)):
        for channel in range(3):
            canvas[..., channel] += strength * enlarged(draw.uniform(-1, 1, (cells, cells)), size_px)
    return canvas


def _draw(picture: np.ndarray, mask: np.ndarray, ink: np.ndarray, digit: int, colour: np.ndarray) -> None:
    """Draw a digit in a dark colour into a window of a scene; both arrays are changed."""
    picture += ink[..., None] * (colour - picture)
    mask[ink >= BORDER] = IGNORED
    mask[ink >= STROKE] = FIRST_DIGIT + digit


def _ink(scan: np.ndarray, size: int) -> np.ndarray:
    """Return how much ink [size, size] of a scan is where, 0 to 1."""
    import numpy as np

    ink: np.ndarray = np.clip(enlarged(scan / 255.0, size), 0, 1)
    return ink


def enlarged(values: np.ndarray, size: int) -> np.ndarray:
    """Return values [size, size] float64 out of a smaller square, by bicubic interpolation."""
    import numpy as np
    from PIL import Image

    picture: Picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC), np.float64)
