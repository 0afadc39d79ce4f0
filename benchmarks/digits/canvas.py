"""What pictures of several digits are made of: scans in a fixed order, textures, scans enlarged to ink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.digits.folders import labelled_scans
from benchmarks.files.atomic import disk_error, make_folder

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

STROKE = 0.35
"""Ink, as a share of the darkest, from which a pixel belongs to the digit."""


class Group(NamedTuple):
    """Scans (digit, [8, 8] uint8) for one picture, and the source of all that is drawn for it."""

    scans: list[tuple[int, np.ndarray]]
    draw: np.random.RandomState


def groups(split: str, count: int, per_picture: tuple[int, ...], seed: int) -> Iterator[Group]:
    """Deal the scans of a split into `count` groups; each is used again only after all others."""
    import numpy as np

    scans = list(labelled_scans(split))
    # RandomState, not Generator: its numbers are promised to stay the same in every NumPy.
    draw = np.random.RandomState(seed + len(scans))
    order = np.concatenate([draw.permutation(len(scans)) for _ in range(1 + count * max(per_picture) // len(scans))])
    used = 0
    for _ in range(count):
        digits = int(draw.choice(per_picture))
        yield Group([scans[row] for row in order[used : used + digits]], draw)
        used += digits


class Tone(NamedTuple):
    """What a texture looks like."""

    base: tuple[float, float]
    """Its mean colour lies between these grey values, 0 to 255."""
    blots: tuple[tuple[int, float], ...]
    """How many along a side, and by how much they may differ from the mean."""


LIGHT = Tone((150, 220), ((4, 18), (24, 10)))
DARK = Tone((20, 80), ((4, 12), (16, 6)))


def texture(draw: np.random.RandomState, size_px: int, tone: Tone = LIGHT) -> np.ndarray:
    """Return a canvas [H, W, 3] float: coarse and fine blots around a random colour."""
    import numpy as np

    canvas = np.zeros((size_px, size_px, 3)) + draw.uniform(*tone.base, 3)
    for cells, strength in tone.blots:
        for channel in range(3):
            canvas[..., channel] += strength * _enlarged(draw.uniform(-1, 1, (cells, cells)), size_px)
    return canvas


def ink_of(scan: np.ndarray, size_px: int) -> np.ndarray:
    """Return a scan's ink [size_px, size_px], 0 to 1, enlarged."""
    import numpy as np

    ink: np.ndarray = np.clip(_enlarged(scan / 255.0, size_px), 0, 1)
    return ink


def pixels_of(canvas: np.ndarray) -> np.ndarray:
    """Return a canvas as an image [H, W, 3] uint8."""
    import numpy as np

    return np.clip(np.round(canvas), 0, 255).astype(np.uint8)


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """Write an image or a mask, by the suffix of its path. Raises as `make_folder` does."""
    from PIL import Image

    make_folder(path.parent)
    try:
        Image.fromarray(pixels).save(path, quality=95, subsampling=0)  # what JPEG alone has
    except OSError as error:
        raise disk_error(error, path, pixels.nbytes) from error


def _enlarged(values: np.ndarray, size: int) -> np.ndarray:
    import numpy as np
    from PIL import Image

    picture: Picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC), np.float64)
