"""How far an encoder was trained, inferred from what lies beside its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue
from torch import Tensor

from benchmarks.encoders import InitStage

# Heads that need labels for every object or pixel. FPN's convolutions are a `neck`, as are decoders of pretraining.
_DENSE = re.compile(
    r"(.*\.)?(decode_head|auxiliary_head|roi_heads?|rpn_head|bbox_head|mask_head|sem_seg_head|panoptic_head|"
    r"semantic_head|keypoint_head|depth_head|pixel_decoder|pixel_level_module|class_predictor|bbox_predictor|"
    r"class_embed|bbox_embed|neck\.(.*\.)?[a-z_]*convs)(\..*)?"
)
_CLASSIFIER = re.compile(
    r"(?!(?:.*\.)?decoder\.)(.*\.)?"
    r"(head|head\.fc|heads\.head|head\.layers\.head|linear_head|classifier|cls_classifier|fc|cls_head\.fc|"
    r"classifier\.[1256])\.weight"  # torchvision's EfficientNet and MobileNetV2, ConvNeXt, MaxViT, VGG
)
# What only pretraining without labels leaves behind: a decoder, a mask token, a projector, a prototype layer.
_SELF_SUPERVISED = re.compile(
    r"(.*\.)?(mask_token|masked_embed|decoder.*|lm_head|neck|predictor.*|projector.*|dino_head|ibot_head|"
    r"head\.(last_layer.*|mlp)|momentum_.*|base_momentum.*)(\..*)?|"
    r"(.*\.)?head\.0\.running_mean"  # MAE's linear probe, under which the encoder stays as it was pretrained
)
_SELF_SUPERVISED_LAYOUTS = {
    *("mae", "moco-v3", "dino", "ibot", "dinov2", "huggingface-dinov2"),
    *("dinov3", "huggingface-dinov3", "huggingface-dinov3-convnext"),
}
# Trained on images and texts, or on masks of objects: none of the stages.
_OF_NO_STAGE = re.compile(r".*(siglip|clip|aimv2|sam2?)|perception-encoder")
_PROBE_OF_VJEPA2 = "pooler.query_tokens"
"""An attentive probe's, which its authors train on a frozen encoder, and transformers with the encoder."""
# Encoders in these layouts are usually pretrained, but may be trained from scratch: the layout alone shows neither.
_OFTEN_PRETRAINED = {"timm-beit", "beit", "simmim-vit", "huggingface-beit", "mmpretrain-beit"}
_MOCO_V3 = {"vit_small", "vit_base", "vit_conv_small", "vit_conv_base"}
_PRETRAINED_FROM = ("PRETRAINED", "finetune", "pretrained", "init_checkpoint")
_EPOCHS = ("EPOCHS", "epochs", "max_epochs")


def infer_stage(layout: str, tensors: Mapping[str, Tensor], facts: Mapping[str, JsonValue]) -> InitStage | None:
    """Return the stage, or None where nothing shows it. `tensors` are all of the file's, the encoder's or not.

    A dense head is taken to be trained on an encoder that was there before. A classifier was trained with labels: the
    encoder is fine-tuned where a pretraining is named or has left something behind, and supervised where nothing
    suggests one.
    """
    if _OF_NO_STAGE.fullmatch(layout):
        return None
    if any(_DENSE.fullmatch(name) for name in tensors):
        return "fine-tuned"
    if _PROBE_OF_VJEPA2 in tensors:
        return None
    others = facts.get("other_weights")  # V-JEPA 2's predictor is a set of its own
    names = [*tensors, *(str(name) for name in (others if isinstance(others, list) else ()))]
    left_behind = layout in _SELF_SUPERVISED_LAYOUTS or any(map(_SELF_SUPERVISED.fullmatch, names))
    if any(_CLASSIFIER.fullmatch(name) and tensor.ndim == 2 for name, tensor in tensors.items()):
        if left_behind or any(_find(facts, key) for key in _PRETRAINED_FROM):
            return "fine-tuned"
        return None if _may_be_pretrained(layout, tensors, facts) else "supervised"
    return "self-supervised" if left_behind or layout == "simmim-vit" else None


def _may_be_pretrained(layout: str, tensors: Mapping[str, Tensor], facts: Mapping[str, JsonValue]) -> bool:
    """Return whether the encoder may have been pretrained before its classifier.

    That is so for classifiers on BEiT, on MAE (with a norm after the mean) and on MoCo v3 (with fixed positions, or an
    `arch` of its own).
    """
    after_mean = any(name.rsplit(".", 2)[-2:-1] == ["fc_norm"] for name in tensors)
    return layout in _OFTEN_PRETRAINED or after_mean or facts.get("arch") in _MOCO_V3 or _fixed_positions(tensors)


def _fixed_positions(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether positions are a fixed table of sines and cosines, in which the class token's row stays zero."""
    table = tensors.get("pos_embed")
    return table is not None and table.ndim == 3 and bool(table.any()) and not bool(table[:, 0].any())


def infer_epochs(facts: Mapping[str, JsonValue]) -> int | None:
    """Return the number of epochs in the configuration beside the weights; None where there is none."""
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
