"""A few pictures in ADE20K's layout, and a small ViT, which are the same wherever they are made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support.waves import fill

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


def small_vit() -> torch.nn.Module:
    """Return a ViT whose weights are waves."""
    vit: torch.nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=0, **VIT)
    with torch.no_grad():
        fill(vit)
    return vit.eval()


def write_small_vit(folder: Path) -> Path:
    """Write it as timm does, with a config beside it; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(small_vit().state_dict(), folder / "model.safetensors")
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 0, "model_args": VIT}
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "model.safetensors"
