"""What Hugging Face's config.json beside the weights says that the tensors cannot show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from benchmarks.errors import UserError
from transfer.checkpoint.architecture.beside import read_object
from transfer.checkpoint.layouts.layout import Family
from transfer.checkpoint.refusal import ANOTHER_MODEL

TIMM_EPS: Mapping[Family, float] = {"swin": 1e-5, "swinv2": 1e-5, "vit": 1e-6, "beit": 1e-6}


def read_config(checkpoint: Path) -> dict[str, Any]:
    """Return Hugging Face's config.json beside a checkpoint file; empty where there is none, or another one."""
    data = read_object(checkpoint.parent / "config.json")
    return data if "model_type" in data else {}


def image_tower(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the image tower of a model of images and text, of any other model its own."""
    tower = config.get("vision_config")
    return tower if isinstance(tower, dict) else config


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
