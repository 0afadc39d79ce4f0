"""Inferring the architecture of weights in timm's layout, whatever family they are of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from transfer.checkpoint.architecture import huggingface_config
from transfer.checkpoint.architecture.beside import inferred_from
from transfer.checkpoint.architecture.hierarchical.infer_convnext import infer_convnext
from transfer.checkpoint.architecture.hierarchical.infer_resnet import infer_resnet
from transfer.checkpoint.architecture.hierarchical.infer_swin import infer_swin
from transfer.checkpoint.architecture.hierarchical.infer_torchvision import infer_torchvision
from transfer.checkpoint.architecture.hierarchical.infer_windowed import infer_hiera, infer_sam, infer_sam2
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.architecture.plain.infer_plain import infer_plain
from transfer.checkpoint.architecture.plain.infer_vit import infer_vit
from transfer.checkpoint.layouts.hierarchical.resnet import RGB
from transfer.checkpoint.layouts.layout import Family, Layout, Weights

WITHOUT_REGISTERS = (
    "no register_tokens: taken for DINOv2 without registers (nothing else in a file shows whether it had them)"
)
_BY_FAMILY: dict[Family, Callable[[Weights, Mapping[str, Any]], Inferred]] = {
    "resnet": lambda weights, _: infer_resnet(weights),
    "convnext": lambda weights, _: infer_convnext(weights),
    "torchvision": lambda weights, _: infer_torchvision(weights),
    "hiera": infer_hiera,
    "sam": lambda weights, _: infer_sam(weights),
    "sam2": infer_sam2,
}
_PLAIN: tuple[Family, ...] = ("clip", "siglip", "aimv2", "distilled", "eva", "video")


def infer(layout: Layout, weights: Weights, config: Mapping[str, Any]) -> Inferred:
    """Return the architecture of `weights`, which are in timm's layout and came from `layout`.

    `config` is Hugging Face's, empty where there is none; it adds what tensors cannot show. Raises UserError, naming
    the tensor, where the weights belong to no known architecture.
    """
    config = huggingface_config.image_tower(config)
    if layout.name.startswith("huggingface-"):
        huggingface_config.require_computed(config, layout.family)
    if layout.family in _BY_FAMILY:
        found = _BY_FAMILY[layout.family](weights, config)
        of_detectron2 = layout.name == "detectron2-resnet"
        return replace(found, assumed={**found.assumed, "strides": RGB}) if of_detectron2 else found
    if layout.family in _PLAIN:
        return infer_plain(layout, weights, config)
    if layout.family in ("swin", "swinv2"):
        inferred = infer_swin(weights)
    else:
        inferred = infer_vit(weights, huggingface_config.heads(config))
    if layout.name == "dinov2" and "reg_token" not in weights:
        inferred = replace(inferred, remarks=(*inferred.remarks, WITHOUT_REGISTERS))
    if not layout.name.startswith("huggingface-"):
        return inferred
    architecture = inferred.architecture
    if layout.family == "vit":
        huggingface_config.check_registers(config, weights["reg_token"].shape[1] if "reg_token" in weights else 0)
    if layout.family == "swinv2" and "window_size" in config:
        configured = inferred_from(architecture.with_arguments(**huggingface_config.swinv2_arguments(config)))
        inferred, architecture = configured, configured.architecture
    if layout.family == "vit" and not config.get("use_swiglu_ffn"):
        act = huggingface_config.activation(config, "gelu")
        architecture = architecture if act == "gelu" else architecture.with_arguments(act_layer=act)
    eps = huggingface_config.norm_eps(config, layout.family)
    assumed = {n: how for n, how in inferred.assumed.items() if n != "norm_eps" or "layer_norm_eps" not in config}
    return replace(inferred, architecture=architecture.model_copy(update={"norm_eps": eps}), assumed=assumed)
