"""What a recipe of classification would load of an encoder, and why a run would refuse it."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.runs.record import LoadReport
from transfer.classification.attentive import AttentiveProbe
from transfer.classification.frozen import frozen_run
from transfer.classification.frozen.recipe import AttentiveRecipe, FewShotRecipe, LogisticRecipe
from transfer.classification.grid import members_of
from transfer.classification.recipe import (
    ClassificationRecipe,
    FinetuneRecipe,
    KnnRecipe,
    LinearRecipe,
)
from transfer.encoder.features import FrozenEncoder, chosen_layers
from transfer.encoder.model import Loaded, build_model, on_meta, require_training
from transfer.sources.source import Source


def would_load(recipe: ClassificationRecipe, source: Source) -> LoadReport:
    """Return what a run would load. Raises the UserErrors by which a run would refuse the encoder."""
    if isinstance(recipe, FinetuneRecipe):
        loaded = on_meta(
            lambda: build_model(
                recipe,
                source,
                0,
                num_classes=1,
                drop_path_rate=recipe.drop_path_rate,
                bias_per_block=recipe.bias_per_block,
                norm_after_pooling=recipe.norm_after_pooling,
            )
        )
        require_training(loaded.model, recipe)
        return loaded.report
    if isinstance(recipe, KnnRecipe | LogisticRecipe | FewShotRecipe):
        return frozen_run.would_load(recipe, source)
    loaded = on_meta(lambda: build_model(recipe, source, 0))
    if loaded.report.complete or source.read is None:
        on_meta(lambda: _frozen(recipe, loaded))
    return loaded.report


def _frozen(recipe: ClassificationRecipe, loaded: Loaded) -> None:
    """Build what a probe takes of the encoder, whose tensors lose their values."""
    backbone: nn.Module = loaded.model.to("meta", torch.float32)  # of whatever type the file's tensors are
    side, channels = recipe.image_size_px, loaded.plan.architecture.in_chans
    if isinstance(recipe, AttentiveRecipe):
        layers = chosen_layers(None if recipe.layer is None else (recipe.layer,), backbone)
        AttentiveProbe(FrozenEncoder(backbone, layers, side, channels), recipe, 1)
    elif isinstance(recipe, LinearRecipe):
        features = [member.feature for member in members_of(recipe, backbone)]
        every = tuple(sorted({layer for feature in features for layer in feature.layers}))
        frozen = FrozenEncoder(backbone, every, side, channels)
        for feature in features:
            frozen.width(feature)
