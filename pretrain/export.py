"""The trained encoder out: timm's key layout, without mask token and head."""

from __future__ import annotations

from pathlib import Path

from benchmarks.config import Recipe
from benchmarks.encoders import Architecture, EncoderManifest, write_encoder
from benchmarks.engine.backbone import window_size
from pretrain.recipe import PretrainRecipe
from pretrain.simmim import SimMIM


def export_encoder(model: SimMIM, recipe: Recipe[PretrainRecipe], folder: Path, run_id: str) -> EncoderManifest:
    """Write the encoder of `model` to `folder`; the manifest is enough to rebuild it in plain timm."""
    config, encoder = recipe.config, model.encoder
    arguments = {**config.encoder.arguments, "img_size": config.image_size_px}
    return write_encoder(
        folder,
        encoder.backbone.state_dict(),
        architecture=Architecture(name=config.encoder.name, arguments=arguments),
        image_size_px=config.image_size_px,
        patch_size_px=encoder.patch_size_px,
        window_size=window_size(encoder.backbone),
        mean=config.data.mean,
        std=config.data.std,
        method="simmim",
        init_stage="self-supervised",
        epochs=config.training.epochs,
        recipe=recipe.name,
        recipe_digest=config.identity_digest(),
        parents=(run_id,),
    )
