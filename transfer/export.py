"""Exporting the fine-tuned encoder, so that another transfer can start from it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from benchmarks import ranks
from benchmarks.encoders import EncoderManifest, InitStage, write_encoder
from benchmarks.engine.backbone import sized
from benchmarks.engine.processes.parallel import gathered_tensors
from benchmarks.families.table import family_of
from benchmarks.runs.record import RunRecord
from benchmarks.runs.stages import history_after
from transfer.adapter import Transfer
from transfer.encoder.adapters import merged
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.sizes import EncoderSizes


def export_finetuned(
    model: nn.Module, plan: EncoderPlan, transfer: Transfer, epochs: int, folder: Path, record: RunRecord
) -> EncoderManifest | None:
    """Write the encoder of `model`, built by `plan` and fine-tuned for `epochs`, without its head, to `folder`.

    What low-rank adapters have learnt is added to the weights.

    An encoder that started from random weights is exported as supervised, any other as fine-tuned. To be called on
    every rank; the main one writes, the others return None.
    """
    family = family_of(model)
    head = family.head_names()
    weights = merged(gathered_tensors((name, each) for name, each in model.state_dict().items() if name not in head))
    if not ranks.is_main():
        return None
    use, work = transfer.source.use, transfer.work
    recipe: EncoderSizes = work.config
    scratch = use.init_stage == "random"
    stage: InitStage = "supervised" if scratch else "fine-tuned"
    return write_encoder(
        folder,
        weights,
        architecture=sized(plan.architecture, recipe.image_size_px),
        image_size_px=recipe.image_size_px,
        patch_size_px=family.patch_size_px,
        window_size=family.window_size,
        mean=plan.normalisation.mean,
        std=plan.normalisation.std,
        method="supervised" if scratch else f"{use.method} + {transfer.task.name}",
        init_stage=stage,
        epochs=epochs,
        recipe=work.recipe.name,
        recipe_digest=recipe.identity_digest(),
        parents=(*transfer.source.parents, record.run_id),
        history=history_after(record, epochs),
        code=use.code,
    )
