"""The model of a transfer: an encoder of any source, with or without a fresh head, and the proof of its weights."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from benchmarks.encoders import Architecture, with_window
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.images import MODES
from benchmarks.engine.seeding import derive, seed_all
from benchmarks.errors import UserError
from benchmarks.record import LoadReport
from transfer.loading import load_encoder, random_report
from transfer.recipe import ClassificationRecipe
from transfer.references import Source


class Loaded(NamedTuple):
    """A model, and what of its encoder came from the source."""

    model: nn.Module
    report: LoadReport


def build_model(
    recipe: ClassificationRecipe,
    source: Source,
    seed: int,
    *,
    num_classes: int = 0,
    drop_path_rate: float = 0.0,
    bias_per_block: bool = False,
) -> Loaded:
    """Return the encoder, with a fresh head if `num_classes` is not 0, and the proof of what was loaded into it."""
    if source.window_assumed and recipe.window_size is None:
        rule = "a known window (SwinV2's tensors do not tell it)"
        remedy = "add window_size=N, or put the config.json / FILE.json beside it"
        raise UserError.about(f"window of {source.use.reference}", "(unknown)", rule, remedy)
    architecture = with_window(source.use.architecture, recipe.window_size)
    if bias_per_block:
        architecture = _with_own_bias(architecture)
    if architecture.in_chans not in MODES:
        rule = f"one of {sorted(MODES)} (image files are read as grey or RGB)"
        raise UserError.about("in_chans", architecture.in_chans, rule, "another encoder")
    seed_all(derive(seed, "weights"))
    model = build_backbone(architecture, recipe.image_size_px, num_classes=num_classes, drop_path_rate=drop_path_rate)
    if source.read is None:
        return Loaded(model, random_report(model))
    report = load_encoder(model, source.read(), source.source_format, recipe.table_resize)
    return Loaded(model, report.model_copy(update={"notes": source.notes}))


def _with_own_bias(architecture: Architecture) -> Architecture:
    """Return a BEiT whose blocks each have a position table; one that shares none stays as it is."""
    if not architecture.arguments.get("use_shared_rel_pos_bias"):
        return architecture
    return architecture.with_arguments(use_shared_rel_pos_bias=False, use_rel_pos_bias=True)
