"""The checkpoints of a program that names a ViT's tensors `trunk.*`: timm's names otherwise."""

from __future__ import annotations

from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights

_OWN, _TIMM = "trunk.layer_", "blocks."


def recognises(shapes: Shapes) -> bool:
    """Tell whether tensors are named as this program names them."""
    return f"{_OWN}0.attn.qkv.weight" in shapes and "trunk.patches.weight" in shapes


def to_timm(weights: Weights) -> Weights:
    """Return the tensors under timm's names."""
    return {_renamed(name): tensor for name, tensor in weights.items()}


def from_timm(weights: Weights) -> Weights:
    """Return timm's tensors under the names of this layout."""
    return {_named_back(name): tensor for name, tensor in weights.items()}


def _renamed(name: str) -> str:
    name = name.replace(_OWN, _TIMM).replace("trunk.patches.", "patch_embed.proj.")
    return name.removeprefix("trunk.")


def _named_back(name: str) -> str:
    if name.startswith(_TIMM):
        return _OWN + name.removeprefix(_TIMM)
    return "trunk." + name.replace("patch_embed.proj.", "patches.")


EXAMPLE_VIT = Layout("example-vit", "vit", "the ViTs of the example plugin", recognises, to_timm, names_back=from_timm)
