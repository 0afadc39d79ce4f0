"""The model of a transfer: an encoder of any source, with or without a fresh head, and the proof of loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import nn

from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.seeding import derive, seed_all
from benchmarks.errors import UserError
from benchmarks.families.parts import BLOCKS
from benchmarks.families.table import family_named, family_of
from benchmarks.runs.record import LoadReport
from transfer.encoder.adapters import adapt_model, adapter_notes, require_targets
from transfer.encoder.dense import Encoder, build_encoder
from transfer.encoder.encoder_plan import EncoderPlan, plan_encoder
from transfer.encoder.frozen_maps import FrozenDense, FrozenMaps
from transfer.encoder.head_maps import HeadMaps
from transfer.encoder.new_norm import with_new_norm
from transfer.encoder.proof.loading import load_source, random_report, without_unused_norm
from transfer.encoder.sizes import EncoderSizes, given_by
from transfer.sources.source import Source

T = TypeVar("T")


class Loaded(NamedTuple):
    """A model, the report of what its encoder took from the source, and the plan the encoder was built by."""

    model: nn.Module
    report: LoadReport
    plan: EncoderPlan


def build_model(
    recipe: EncoderSizes,
    source: Source,
    seed: int,
    *,
    num_classes: int = 0,
    drop_path_rate: float = 0.0,
    bias_per_block: bool = False,
    norm_after_pooling: bool = False,
    whole_windows: bool = True,
) -> Loaded:
    """Return the encoder, with a fresh head if `num_classes` is not 0, and the proof of what was loaded into it.

    With `bias_per_block` each block gets position biases of its own, where a family can share them, and with
    `norm_after_pooling` the head a norm of its own (`with_new_norm`). `whole_windows` is `build_backbone`'s: False
    where timm's own forward will not be run.
    """
    source = with_new_norm(source) if norm_after_pooling else source
    plan = plan_encoder(source, recipe)
    if bias_per_block:
        family = family_named(plan.architecture.name)
        plan = replace(plan, architecture=family.with_own_tables(plan.architecture))
    _seed(seed)
    model = build_backbone(
        plan.architecture,
        recipe.image_size_px,
        num_classes=num_classes,
        drop_path_rate=drop_path_rate,
        whole_windows=whole_windows,
    )
    report = _load(model, source, recipe)
    return Loaded(model, with_notes(report, depth_notes(model, drop_path_rate)), plan)


class LoadedEncoder(NamedTuple):
    """An encoder for a dense task, the report of what it took from the source, and the plan it was built by."""

    encoder: Encoder
    report: LoadReport
    plan: EncoderPlan


def build_dense_encoder(recipe: EncoderSizes, source: Source, drop_path_rate: float, seed: int) -> LoadedEncoder:
    """Return the encoder for feature maps of any image, and the proof of what was loaded into it.

    It is built for `image_size_px`, to which position embeddings and tables are resized once. The random state is
    seeded here, so that heads built next start from the seed's weights. Raises UserError for an encoder of grey images,
    which dense tasks do not read.
    """
    plan = plan_encoder(source, recipe)
    if plan.architecture.in_chans != 3:
        raise UserError.about("in_chans", plan.architecture.in_chans, "3 (images are read as RGB)", "add in_chans=3")
    _seed(seed)
    encoder = build_encoder(
        plan.architecture, recipe.image_size_px, drop_path_rate=drop_path_rate, table_mode=recipe.table_resize
    )
    report = _load(encoder.backbone, source, recipe)
    notes = (*depth_notes(encoder.backbone, drop_path_rate), *encoder.sizes.notes)
    return LoadedEncoder(encoder, with_notes(report, notes), plan)


M_co = TypeVar("M_co", bound=nn.Module, covariant=True)


@dataclass(frozen=True)
class LoadedMaps(Generic[M_co]):
    """The maps that a dense task's heads take, the report of what their encoder took from the source, and its plan."""

    maps: M_co
    report: LoadReport
    plan: EncoderPlan


def build_head_maps(
    recipe: EncoderSizes, source: Source, seed: int, *, longest_px: int, channels: int = 256, frozen: bool = False
) -> LoadedMaps[HeadMaps]:
    """Return what the heads of a dense task stand on; `channels` is the width of a plain transformer's maps.

    Of a `frozen` encoder the maps' norms, or the pyramid, are trained alone.

    Raises UserError for an encoder that gives no such maps, of images whose sides are up to `longest_px`, or with which
    the recipe cannot be trained.
    """
    loaded = _loaded_for_maps(recipe, source, seed, longest_px, frozen)
    maps = HeadMaps(FrozenDense(loaded.encoder) if frozen else loaded.encoder, channels)
    backbone = loaded.encoder.backbone
    report = without_unused_norm(backbone, loaded.report)
    adapt_model(backbone, getattr(recipe, "adapters", None))
    return LoadedMaps(maps, with_notes(report, adapter_notes(backbone)), loaded.plan)


def build_frozen_maps(
    recipe: EncoderSizes,
    source: Source,
    seed: int,
    *,
    longest_px: int,
    last: int,
    evenly: bool = False,
    normed: bool = True,
    class_token: bool = False,
) -> LoadedMaps[FrozenMaps]:
    """Return maps of a frozen encoder for a linear layer, as `FrozenMaps` takes them.

    Raises UserError as `build_head_maps` does.
    """
    loaded = _loaded_for_maps(recipe, source, seed, longest_px, frozen=True)
    maps = FrozenMaps(loaded.encoder, last, evenly=evenly, normed=normed, class_token=class_token)
    return LoadedMaps(maps, loaded.report, loaded.plan)


def _loaded_for_maps(recipe: EncoderSizes, source: Source, seed: int, longest_px: int, frozen: bool) -> LoadedEncoder:
    loaded = build_dense_encoder(recipe, source, getattr(recipe, "drop_path_rate", 0.0), seed)
    sizes = loaded.encoder.sizes
    if sizes.only_px is not None and longest_px > sizes.only_px:
        raise sizes.too_large(longest_px)
    require_training(loaded.encoder.backbone, recipe, frozen=frozen)
    return loaded


def require_training(model: nn.Module, recipe: Any, *, frozen: bool = False) -> None:
    """Raise UserError where a recipe asks for what is not known of a model: its layers, or its blocks; for adapters
    of matrices that it does not have; or to train, unless it is `frozen`, what no gradient reaches.
    """
    family, training = family_of(model), recipe.training
    require_targets(model, getattr(recipe, "adapters", None))
    if getattr(recipe, "layer_decay", 1.0) != 1.0:
        family.layers()
    if not frozen and not family.learns:
        rule = "features through which a gradient reaches the encoder's parameters"
        remedy = "take torch.no_grad(), detach() and requires_grad_(False) out of its code; or probe the frozen encoder"
        raise UserError.about("one's own encoder", "without a gradient", rule, remedy)
    if training.sharded or training.activation_checkpointing:
        family.require(BLOCKS)


def on_meta(build: Callable[[], T]) -> T:
    """Return what `build` builds and loads, by shapes alone: without memory, and without drawing initial values."""
    with torch.device("meta"):
        return build()


def _seed(seed: int) -> None:
    """Seed what draws initial weights; where none are drawn, leave the random state alone."""
    if torch.get_default_device().type != "meta":
        seed_all(derive(seed, "weights"))


def depth_notes(model: nn.Module, drop_path_rate: float) -> tuple[str, ...]:
    """Return what a person should know of a model that has no stochastic depth although the recipe asks for it."""
    drops = any(type(each).__name__.startswith(("DropPath", "StochasticDepth")) for each in model.modules())
    if not drop_path_rate or drops:
        return ()
    return (f"drop_path_rate={drop_path_rate:g} changes nothing: {type(model).__name__} has no stochastic depth",)


def with_notes(report: LoadReport, notes: tuple[str, ...]) -> LoadReport:
    """Return a report with further notes."""
    return report.model_copy(update={"notes": (*report.notes, *notes)}) if notes else report


def _load(model: nn.Module, source: Source, recipe: EncoderSizes) -> LoadReport:
    """Load the source's weights into the encoder part of a model, unless the source is random; return the report."""
    if source.read is None:
        return random_report(model)
    with torch.device("cpu"):  # weights have values also where the model is built without
        return load_source(model, source, recipe.table_resize, given=given_by(recipe))
