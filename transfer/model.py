"""The model of a transfer: an encoder of any source, with or without a fresh head, and the proof of its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import nn

from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.seeding import derive, seed_all
from benchmarks.record import LoadReport
from transfer.adapted import Plan, plan_encoder
from transfer.loading import load_encoder, random_report
from transfer.recipe import EncoderSizes, given_by
from transfer.references import Source


class Loaded(NamedTuple):
    """A model, what of its encoder came from the source, and what the encoder has become."""

    model: nn.Module
    report: LoadReport
    plan: Plan


def build_model(
    recipe: EncoderSizes,
    source: Source,
    seed: int,
    *,
    num_classes: int = 0,
    drop_path_rate: float = 0.0,
    bias_per_block: bool = False,
    whole_windows: bool = True,
) -> Loaded:
    """Return the encoder, with a fresh head if `num_classes` is not 0, and the proof of what was loaded into it.

    `whole_windows` is `build_backbone`'s: False where timm's own forward will not be run.
    """
    plan = plan_encoder(source, recipe)
    if bias_per_block:
        plan = replace(plan, architecture=_with_own_bias(plan.architecture))
    seed_all(derive(seed, "weights"))
    model = build_backbone(
        plan.architecture,
        recipe.image_size_px,
        num_classes=num_classes,
        drop_path_rate=drop_path_rate,
        whole_windows=whole_windows,
    )
    if source.read is None:
        return Loaded(model, random_report(model), plan)
    report = load_encoder(model, source.read(), source.source_format, recipe.table_resize)
    return Loaded(model, report.model_copy(update={"notes": source.notes(given_by(recipe))}), plan)


def _with_own_bias(architecture: Architecture) -> Architecture:
    """Return a BEiT whose blocks each have a position table; one that shares none stays as it is."""
    if not architecture.arguments.get("use_shared_rel_pos_bias"):
        return architecture
    return architecture.with_arguments(use_shared_rel_pos_bias=False, use_rel_pos_bias=True)
