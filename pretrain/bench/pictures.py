"""Photographs' stand-ins: JPEG files of their usual size that cost as much to decode."""

from __future__ import annotations

from pathlib import Path

SIZE = (500, 375)
"""The size in pixels that ImageNet's images have most often."""
QUALITY = 90


def write_pictures(folder: Path, count: int) -> None:
    """Write `count` JPEG files of smooth shapes with some grain, each from a seed of its own."""
    import numpy as np
    from PIL import Image

    for number in range(count):
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), dtype=np.float32)
        grained = (smooth + random.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(grained).save(folder / f"{number:05}.jpg", quality=QUALITY)
