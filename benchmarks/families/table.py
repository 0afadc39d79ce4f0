"""The table of encoder families."""

from __future__ import annotations

from functools import cache

import timm
from torch import nn

from benchmarks import plugins
from benchmarks.families.family import Family
from benchmarks.families.hierarchical.metaformer import MetaFormer
from benchmarks.families.hierarchical.resnet import ResNet
from benchmarks.families.hierarchical.swin import Swin, SwinV2, SwinV2Cr
from benchmarks.families.hierarchical.torchvision import Torchvision
from benchmarks.families.own import Own
from benchmarks.families.plain.beit import Beit
from benchmarks.families.plain.eva import Eva
from benchmarks.families.plain.video import Video
from benchmarks.families.plain.vit import ViT

FAMILIES: tuple[type[Family], ...] = (
    *(Swin, SwinV2, ViT, Beit, Video, Eva, ResNet, MetaFormer, SwinV2Cr, Torchvision, Own),
)
"""In the order in which messages name them; a model is of the first whose class it has (a video ViT has EVA's, too)."""


@cache
def plugin_families() -> tuple[tuple[plugins.Plugin, type[Family]], ...]:
    """Return the families that other packages add: of models of classes of their own, registered with timm."""
    return tuple(plugins.working("families", frozenset(family.name for family in FAMILIES)))


def family_of(model: nn.Module) -> Family:
    """Return a timm model as one of its family, or as a plain `Family` where the table has none for it."""
    for plugin, family in plugin_families():
        if isinstance(model, family.kind):
            plugins.use(plugin)
            return family(model, (*FAMILIES, family))
    kind = next((family for family in FAMILIES if isinstance(model, family.kind)), Family)
    return kind(model, FAMILIES)


def family_named(name: str) -> type[Family]:
    """Return the family of a timm model's name by the module that registers it; building the model takes seconds."""
    added = plugin_families()  # which registers their models with timm
    whole = timm.model_entrypoint(name).__module__ if timm.is_model(name) else ""
    for plugin, family in added:
        if whole == family.kind.__module__:
            plugins.use(plugin)
            return family
    module = whole.rpartition(".")[2]
    return next((family for family in FAMILIES if module in family.registered_in), Family)
