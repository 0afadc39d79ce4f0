"""Export of the trained encoder in timm's key layout, without mask token and head."""

from __future__ import annotations

from pathlib import Path

from benchmarks import ranks
from benchmarks.config import Recipe
from benchmarks.encoders import EncoderManifest, write_encoder
from benchmarks.engine.backbone import sized
from benchmarks.engine.processes.parallel import gathered_tensors
from benchmarks.families.table import family_of
from pretrain.method.masked_encoders import MaskedEncoder
from pretrain.recipe import PretrainRecipe
from pretrain.run.start import History


def export_encoder(
    encoder: MaskedEncoder, recipe: Recipe[PretrainRecipe], past: History, folder: Path
) -> EncoderManifest | None:
    """Write `encoder`, trained as `past` says, to `folder`; the manifest is enough to rebuild it.

    To be called on every rank; the main one writes, the others return None.
    """
    config, weights = recipe.config, gathered_tensors(encoder.backbone.state_dict().items())
    if not ranks.is_main():
        return None
    return write_encoder(
        folder,
        weights,
        architecture=sized(config.encoder, config.image_size_px),
        image_size_px=config.image_size_px,
        patch_size_px=encoder.patch_size_px,
        window_size=family_of(encoder.backbone).window_size,
        mean=config.data.mean,
        std=config.data.std,
        method=past.method,
        init_stage=past.init_stage,
        epochs=past.epochs,
        recipe=recipe.name,
        recipe_digest=config.identity_digest(),
        parents=past.parents,
    )
