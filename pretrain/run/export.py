"""Export of the trained encoder in timm's key layout, without mask token and head."""

from __future__ import annotations

from pathlib import Path

from benchmarks import ranks
from benchmarks.config import Recipe
from benchmarks.encoders import EncoderManifest, write_encoder
from benchmarks.engine.backbone import sized
from benchmarks.engine.processes.parallel import gathered_tensors
from benchmarks.families.table import family_of
from benchmarks.runs.record import EncoderUse, RunRecord
from benchmarks.runs.stages import history_after
from pretrain.method.masked_encoders import MaskedEncoder
from pretrain.recipe import PretrainRecipe

METHOD = "simmim"


def export_encoder(
    encoder: MaskedEncoder, recipe: Recipe[PretrainRecipe], epochs: int, folder: Path, record: RunRecord
) -> EncoderManifest | None:
    """Write `encoder` to `folder`, trained for `epochs` by the run of `record`; the manifest is enough to rebuild it.

    Where the run continued an encoder into which labels went, they are in it still: its stage remains theirs. To be
    called on every rank; the main one writes, the others return None.
    """
    config, weights = recipe.config, gathered_tensors(encoder.backbone.state_dict().items())
    if not ranks.is_main():
        return None
    initial = record.encoder
    return write_encoder(
        folder,
        weights,
        architecture=sized(config.encoder, config.image_size_px),
        image_size_px=config.image_size_px,
        patch_size_px=encoder.patch_size_px,
        window_size=family_of(encoder.backbone).window_size,
        mean=config.data.mean,
        std=config.data.std,
        method=METHOD if initial is None else f"{initial.method} -> {METHOD}",
        init_stage="self-supervised" if initial is None else initial.init_stage,
        epochs=_epochs_in_all(initial, epochs),
        recipe=recipe.name,
        recipe_digest=config.identity_digest(),
        parents=(*record.parents, record.run_id),
        history=history_after(record, epochs),
    )


def _epochs_in_all(initial: EncoderUse | None, epochs: int) -> int | None:
    if initial is None:
        return epochs
    return None if initial.epochs is None else initial.epochs + epochs
