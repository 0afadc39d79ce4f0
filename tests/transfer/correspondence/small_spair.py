"""A few pairs of pictures in SPair-71k's layout, and a small ViT, which are the same wherever they are made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.waves import SMALL_VIT, write_vit

CATEGORIES = ("bird", "boat")
PAIRS = 3
"""Of each category."""
SIDE_PX = 840
VIT = {**SMALL_VIT, "img_size": SIDE_PX}


def picture(number: int, width: int, height: int) -> np.ndarray:
    """Return an image [H, W, 3]: coarse blocks of colour, and noise."""
    draw = np.random.RandomState(number)
    blocks = draw.randint(20, 230, (7, 9, 3))
    rows, columns = np.arange(height) * 7 // height, np.arange(width) * 9 // width
    return np.clip(blocks[rows][:, columns] + draw.randint(-20, 20, (height, width, 3)), 0, 255).astype(np.uint8)


def write_small_spair(root: Path) -> Path:
    """Write pictures of all shapes.

    The second one of a pair is the first with other noise, and in every second pair of another shape.
    """
    draw = np.random.RandomState(5)
    for at, category in enumerate(CATEGORIES):
        for number in range(PAIRS):
            name, document = f"{at}{number}", {"category": category, "mirror": 0}
            count, sizes = int(draw.randint(2, 7)), [draw.randint(60, 200, 2).tolist() for _ in range(2)]
            sizes[1] = sizes[number % 2]
            shares, kept = draw.rand(count, 2), sorted(draw.permutation(8)[:count].tolist())
            for which, (width, height) in zip(("src", "trg"), sizes, strict=True):
                pixels = picture(10 * at + number, width, height)
                pixels = np.clip(pixels.astype(int) + draw.randint(-4, 5, pixels.shape), 0, 255).astype(np.uint8)
                path = root / "JPEGImages" / category / f"{name}{which}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path, format="PNG")  # whose pixels are the same in every library
                points = np.floor(shares * [width - 1, height - 1]).astype(int).tolist()
                document |= {f"{which}_imname": path.name, f"{which}_imsize": [width, height, 3]}
                document |= {f"{which}_kps": points, f"{which}_bndbox": [5, 4, width - 7, height - 3]}
            document["kps_ids"] = [str(each) for each in kept]
            path = root / "PairAnnotation" / "test" / f"{at:03d}{number:03d}-{name}src-{name}trg:{category}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document))
            images = root / "ImageAnnotation" / category / f"{name}src.json"
            images.parent.mkdir(parents=True, exist_ok=True)
            images.write_text(json.dumps({"kps": dict.fromkeys(map(str, range(8)))}))
    return root


def write_small_vit(folder: Path) -> Path:
    """Write the ViT as timm does; return its file."""
    return write_vit(folder, VIT)
