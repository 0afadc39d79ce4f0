"""Crops of a pretraining: torchvision's own, to the bit, whatever the image, the recipe and the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.config import load_recipe
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.samples.loaders import SampleKey
from benchmarks.engine.seeding import derive, seeded
from pretrain.bench.pictures import write_pictures
from pretrain.recipe import PretrainRecipe
from pretrain.run.crops import training_samples

SIZES = ((375, 500), (500, 375), (192, 192), (40, 700), (700, 40), (3, 2), (1, 1))
RECIPE = "simmim_swin_base_192_100ep"


def written(folder: Path, mode: str) -> list[Path]:
    random = np.random.default_rng(0)
    files = []
    for number, (width, height) in enumerate(SIZES):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        files.append(folder / f"{number}.png")
        Image.fromarray(pixels).convert(mode).save(files[-1])
    write_pictures(folder / "photographs", 2)
    return [*files, *sorted((folder / "photographs").iterdir())]


def torchvisions(file: Path, recipe: PretrainRecipe, seed: int, mode: str) -> Tensor:
    data = recipe.data
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(recipe.image_size_px, scale=data.crop_scale, ratio=data.crop_ratio),
            v2.RandomHorizontalFlip(data.horizontal_flip),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(data.mean), list(data.std)),
        ]
    )
    with seeded(seed):
        found: Tensor = transform(Image.open(file).convert(mode))
    return found


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.crop_scale=[0.08,1]", "data.crop_ratio=[0.3,3]", "data.horizontal_flip=1"],
        ["encoder={name: swin_base_window6, arguments: {in_chans: 1}}", "data.mean=[0.5]", "data.std=[0.25]"],
    ],
    ids=["recipe", "small crops", "grey"],
)
def test_crops_are_torchvisions_to_the_bit(tmp_path: Path, overrides: list[str]) -> None:
    (tmp_path / "photographs").mkdir()
    recipe = load_recipe(PretrainRecipe, "pretrain", RECIPE, overrides).config
    mode = "L" if recipe.encoder.in_chans == 1 else "RGB"
    files = written(tmp_path, mode)
    samples = training_samples(recipe, ImageFiles(tmp_path, files), 5)
    for epoch in range(3):
        keys = [SampleKey(position, epoch) for position in range(len(files))]
        before = torch.get_rng_state()
        batch = samples.collate([samples[key] for key in keys])
        assert torch.equal(torch.get_rng_state(), before), "no other source of randomness is touched"
        assert batch.images.dtype == torch.uint8
        images = batch.to(torch.device("cpu")).images
        assert images.is_contiguous()
        for file, key, image in zip(files, keys, images, strict=True):
            assert torch.equal(image, torchvisions(file, recipe, derive(5, "sample", *key), mode)), (file, epoch)
