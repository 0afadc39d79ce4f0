"""How far an encoder was trained, told by what lies beside its weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from benchmarks.encoders import InitStage

# What only pretraining without labels leaves behind: a decoder, a mask token, a projector, a prototype layer.
_SELF_SUPERVISED = re.compile(
    r"(.*\.)?(mask_token|masked_embed|decoder.*|lm_head|neck|predictor.*|projector.*|dino_head|ibot_head|"
    r"head\.(last_layer.*|mlp|\d+)|momentum_.*|base_momentum.*)(\..*)?"
)
_CLASSIFIER = re.compile(
    r"(.*\.)?(head|head\.fc|heads\.head|classifier|fc|cls_head\.fc|decode_head|roi_heads)\..*weight"
)
_SELF_SUPERVISED_LAYOUTS = {"mae", "moco-v3", "dino", "ibot", "dinov2", "huggingface-dinov2", "simmim-vit"}
_PRETRAINED_FROM = ("PRETRAINED", "finetune", "pretrained", "init_checkpoint")
_EPOCHS = ("EPOCHS", "epochs", "max_epochs")


def infer_stage(layout: str, names: Iterable[str], facts: Mapping[str, JsonValue]) -> InitStage | None:
    """Return the stage, or None where nothing tells it.

    A classifier means labels; after a named pretraining it is a fine-tuned encoder, else a supervised one.
    """
    dropped = facts.get("dropped_prefixes")
    everything = [*names, *(f"{prefix}.weight" for prefix in dropped)] if isinstance(dropped, dict) else list(names)
    if layout in _SELF_SUPERVISED_LAYOUTS or any(_SELF_SUPERVISED.fullmatch(name) for name in everything):
        return "self-supervised"
    if any(_CLASSIFIER.fullmatch(name) for name in everything):
        return "fine-tuned" if any(_find(facts, key) for key in _PRETRAINED_FROM) else "supervised"
    return None


def infer_epochs(facts: Mapping[str, JsonValue]) -> int | None:
    """Return the epochs the configuration beside the weights planned; None where there is none."""
    for key in _EPOCHS:
        value = _find(facts, key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _find(value: JsonValue | Mapping[str, JsonValue], key: str) -> JsonValue:
    """Return the first value under `key` at any depth."""
    if not isinstance(value, Mapping):
        return None
    if key in value:
        return value[key]
    return next((found for inner in value.values() if (found := _find(inner, key)) is not None), None)
