"""A plain transformer whose head takes the mean of the patches through a norm of its own, as MAE and BEiT fine-tune."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.table import family_named, family_of
from transfer.sources.source import Source

REMARK = "the head takes the patches' mean through a norm that begins as 1 and 0; the encoder's last norm is left out"


def with_new_norm(source: Source) -> Source:
    """Return a source without the norm that follows its last block, and with a new one after the mean of its patches.

    One that has such a norm already stays as it is. Raises UserError for a family without such a form.

    Sources: facebookresearch/mae `models_vit.py` (global_pool); microsoft/unilm `beit/modeling_finetune.py`.
    """
    before, read = source.use.architecture, source.read
    family = family_named(before.name)
    if not family.norm_after_mean:
        rule = f"false for {before.name}: plain transformers (ViT, BEiT) have this form"
        raise UserError.about("norm_after_pooling", True, rule, "set norm_after_pooling=false")
    with torch.device("meta"):
        model = build_backbone(before, None)
    if isinstance(family_of(model).norm_after_pooling, torch.nn.LayerNorm):
        return source
    use = source.use.model_copy(update={"architecture": before.with_arguments(**family.norm_after_mean)})
    if read is None:
        return replace(source, use=use)

    def changed() -> dict[str, Tensor]:
        weights = read()
        width = family_of(model).own_width
        kept = {name: tensor for name, tensor in weights.items() if not name.startswith("norm.")}
        return kept | {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width)}

    return replace(source, use=use, read=changed, remarks=(*source.remarks, REMARK))
