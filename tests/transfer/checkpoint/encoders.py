"""Small encoders with random weights, their exports and features, and the models that foreign files become."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.encoders import Architecture, find_architecture, write_encoder
from benchmarks.engine.backbone import build_backbone
from tests.support.random_weights import randomise
from transfer.checkpoint.foreign import read_foreign
from transfer.encoder.proof.loading import load_encoder, require_complete

SMALL = {
    "swin": find_architecture("digits_swin"),
    "swinv2": Architecture(
        name="swinv2_tiny_window8_256",
        arguments={"window_size": 4, "embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [2, 4, 8, 16]},
    ),
    "vit": Architecture(
        name="vit_tiny_patch16_224", arguments={"embed_dim": 128, "depth": 2, "num_heads": 2, "patch_size": 16}
    ),
    "beit": Architecture(
        name="beit_base_patch16_224", arguments={"embed_dim": 128, "depth": 2, "num_heads": 2, "init_values": 0.1}
    ),
}


def randomised(architecture: Architecture, size: int = 64) -> nn.Module:
    torch.manual_seed(3)
    return randomise(build_backbone(architecture, size))


def features(model: nn.Module, size: int = 64) -> Tensor:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found: Tensor = model.eval().forward_features(images)  # type: ignore[operator]
    return found


def loaded(path: Path, size: int | None = None) -> nn.Module:
    """Return the timm model that a foreign file becomes; an incomplete one is an error."""
    encoder = read_foreign(path)
    model = build_backbone(encoder.inferred.architecture, size)
    require_complete(load_encoder(model, encoder.weights, encoder.layout.name), str(path))
    return model


def export(architecture: Architecture, folder: Path, size: int = 64) -> nn.Module:
    model = randomised(architecture, size)
    write_encoder(
        folder,
        model.state_dict(),
        architecture=architecture.at_size(size),
        image_size_px=size,
        patch_size_px=4,
        window_size=4,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        method="simmim",
        init_stage="self-supervised",
        epochs=7,
        recipe="r",
        recipe_digest="d",
    )
    return model
