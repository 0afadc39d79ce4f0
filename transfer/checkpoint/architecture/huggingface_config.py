"""What Hugging Face's config.json beside the weights says that the tensors cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from benchmarks.errors import UserError
from transfer.checkpoint.architecture.beside import read_object
from transfer.checkpoint.layouts.layout import Family
from transfer.checkpoint.refusal import ANOTHER_MODEL

TIMM_EPS: Mapping[Family, float] = {"swin": 1e-5, "swinv2": 1e-5, "vit": 1e-6, "beit": 1e-6}
ACTIVATIONS: Final = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
"""Activations by Hugging Face's names and by timm's; they are as in the published models where a file does not say."""
OWN_CODE = "give it as a model of your own, which transformers computes: --encoder python:MODULE:FACTORY"
_WINDOWED: Final = {"hidden_act": "gelu"}
_COMPUTED: Final[Mapping[Family, Mapping[str, object]]] = {
    "swin": _WINDOWED,
    "swinv2": _WINDOWED,
    "beit": _WINDOWED,
    "convnext": _WINDOWED,
    "sam": _WINDOWED,
    "sam2": _WINDOWED,
    "hiera": {**_WINDOWED, "query_stride": [2, 2], "num_query_pool": 3, "masked_unit_size": [8, 8]},
    "aimv2": {"hidden_act": "silu", "is_native": False},
    "resnet": {"hidden_act": "relu", "downsample_in_first_stage": False, "downsample_in_bottleneck": False},
}
"""What no tensor shows, and timm's encoder of a family computes in one way only."""
_ANY_SHAPE: Final = {"swin", "swinv2", "convnext", "resnet"}
"""Families that keep no table of the whole image."""


def read_config(checkpoint: Path) -> dict[str, Any]:
    """Return Hugging Face's config.json beside a checkpoint file; empty where there is none, or another one."""
    data = read_object(checkpoint.parent / "config.json")
    return data if "model_type" in data else {}


def image_tower(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the encoder of images in a larger model's, of any other model its own."""
    for part in ("vision_config", "backbone_config", "encoder"):
        if isinstance(tower := config.get(part), dict):
            return image_tower(tower)
    return config


def require_computed(config: Mapping[str, Any], family: Family) -> None:
    """Raise UserError where a configuration asks of a family for what timm's encoder does not compute."""
    for name, value in _COMPUTED.get(family, {}).items():
        if config.get(name, value) != value:
            rule = f"{value}, as timm computes encoders of this kind; no tensor shows it"
            raise UserError.about(f"{name} in config.json", config[name], rule, OWN_CODE)
    size = config.get("image_size")
    if isinstance(size, list) and len(set(map(str, size))) > 1 and family not in _ANY_SHAPE:
        raise UserError.about("image_size in config.json", size, "a square: tables of others are not read", OWN_CODE)


def activation(config: Mapping[str, Any], usually: str) -> str:
    """Return timm's name of the activation in the MLPs, `usually` where none is stated. Raises UserError for others."""
    stated = config.get("hidden_act", usually)
    if stated not in ACTIVATIONS:
        raise UserError.about("hidden_act in config.json", stated, f"one of {', '.join(ACTIVATIONS)}", OWN_CODE)
    return ACTIVATIONS[stated]


def heads(config: Mapping[str, Any]) -> int | None:
    """Return a ViT's number of heads, None where the config has none; a Swin's tensors show theirs."""
    found = config.get("num_attention_heads")
    return found if isinstance(found, int) else None


def norm_eps(config: Mapping[str, Any], family: Family) -> float | None:
    """Return the LayerNorms' eps where it is not timm's own; None where it is, or is not in the config."""
    found = config.get("layer_norm_eps")
    return found if isinstance(found, float) and found != TIMM_EPS[family] else None


def check_registers(config: Mapping[str, Any], found: int) -> None:
    """Raise UserError where DINOv2's config names another number of register tokens than the weights hold."""
    expected = config.get("num_register_tokens", found)
    if expected != found:
        rule = f"{expected}, the num_register_tokens of config.json"
        raise UserError.about("register_tokens", found, rule, ANOTHER_MODEL)


def swinv2_arguments(config: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return SwinV2's image size and windows, which its tensors do not show, as timm's arguments."""
    same = ("window_size", "pretrained_window_sizes")
    names = {"image_size": "img_size", **dict(zip(same, same, strict=True))}
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
