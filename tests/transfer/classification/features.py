"""The features of the digits by an encoder, taken image by image without any store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.config import load_recipe
from transfer.classification.augment import test_transform as evaluation_transform
from transfer.classification.recipe import LinearRecipe
from transfer.encoder.features import OUTPUT, FrozenEncoder
from transfer.encoder.model import build_model
from transfer.images.read import read_classification_data
from transfer.sources.references import resolve

ENCODER = "random:digits_swin"


def frozen_features(root: Path, split: str, reference: str = ENCODER) -> tuple[np.ndarray, list[int]]:
    recipe = load_recipe(LinearRecipe, "transfer", "digits_linear").config
    source = resolve(reference)
    encoder = FrozenEncoder(build_model(recipe, source, 0).model, (OUTPUT,), 32, 3)
    transform = evaluation_transform(recipe, source.normalisation.mean, source.normalisation.std)
    sets = read_classification_data(recipe.data.model_copy(update={"root": str(root)}), 10)
    found = {"train": sets.train, "test": sets.test}[split]
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in found.source.files])
    return encoder.pooled(images, "mean")[0].numpy(), list(found.labels)
