"""A few pictures in ADE20K's layout, and a small ViT, which are the same wherever they are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.waves import write_vit

IMAGE_SIZE_PX, TRAIN, TEST = 42, 12, 4
VALUES = (0, 3, 7, 20, 150)
VIT = {"embed_dim": 12, "depth": 3, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14, "img_size": IMAGE_SIZE_PX}


def picture(number: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image [H, W, 3] and its mask [H, W]: coarse blocks of five classes, each with a colour, and noise."""
    draw = np.random.RandomState(number)
    blocks = draw.randint(0, len(VALUES), (3, 3))
    rows, columns = np.arange(height) * 3 // height, np.arange(width) * 3 // width
    classes = blocks[rows][:, columns]
    speckled = np.where(draw.rand(height, width) < 0.15, draw.randint(0, len(VALUES), (height, width)), classes)
    colours = np.random.RandomState(1000).randint(60, 200, (len(VALUES), 3))
    image = colours[speckled] + draw.randint(-50, 50, (height, width, 3))
    return image.astype(np.uint8), np.array(VALUES, np.uint8)[speckled]


def write_small_ade(root: Path, suffix: str = ".png") -> Path:
    """Write the pictures; those of the test have the size at which they are scored."""
    for split, numbers in (("training", range(TRAIN)), ("validation", range(TRAIN, TRAIN + TEST))):
        for number in numbers:
            size = (IMAGE_SIZE_PX,) * 2 if split == "validation" else (30 + number, 60 - 2 * number)
            for kind, pixels, ending in zip(
                ("images", "annotations"), picture(number, *size), (suffix, ".png"), strict=True
            ):
                path = root / kind / split / f"{number:04d}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, format="PNG")
    return root


def write_small_vit(folder: Path) -> Path:
    """Write the ViT as timm does; return its file."""
    return write_vit(folder, VIT)
