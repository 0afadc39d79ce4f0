"""All layouts, and telling which one a set of tensors is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.architecture import huggingface_config
from transfer.checkpoint.architecture.beside import inferred_from
from transfer.checkpoint.architecture.infer_swin import infer_swin
from transfer.checkpoint.architecture.infer_vit import infer_vit
from transfer.checkpoint.architecture.inferred import Inferred
from transfer.checkpoint.layouts.beit import BEIT_LAYOUTS
from transfer.checkpoint.layouts.layout import Layout, Weights
from transfer.checkpoint.layouts.swin import SWIN_LAYOUTS
from transfer.checkpoint.layouts.swinv2 import SWINV2_LAYOUTS
from transfer.checkpoint.layouts.vit import VIT_LAYOUTS

LAYOUTS: tuple[Layout, ...] = (*SWIN_LAYOUTS, *SWINV2_LAYOUTS, *BEIT_LAYOUTS, *VIT_LAYOUTS)
WITHOUT_REGISTERS = (
    "no register_tokens: taken for DINOv2 without registers (nothing else in a file tells whether it had them)"
)


def identify(tensors: dict[str, Tensor]) -> Layout:
    """Return the layout of `tensors`, told by names and shapes. Raises UserError where none, or no single one, fits."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = [layout for layout in LAYOUTS if layout.recognises(shapes)]
    if len(found) == 1:
        return found[0]
    names = sorted(tensors)
    shown = f"{len(names)} tensors: {', '.join(names[:4])}, ... {names[-1]}" if names else "no tensors"
    if found:
        rule = f"in one layout, not in {' and '.join(layout.name for layout in found)}"
        raise UserError.about("checkpoint", shown, rule, "save one encoder alone")
    rule = "a Swin, SwinV2, ViT or BEiT encoder in a known layout"
    raise UserError.about("checkpoint", shown, rule, "`mimbench list formats` shows the layouts that can be read")


def infer(layout: Layout, weights: Weights, config: Mapping[str, Any]) -> Inferred:
    """Return the architecture of `weights`, which are in timm's layout and came from `layout`.

    `config` is Hugging Face's, empty where there is none; it adds what tensors cannot tell.
    """
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
        told = inferred_from(architecture.with_arguments(**huggingface_config.swinv2_arguments(config)))
        inferred, architecture = told, told.architecture
    eps = huggingface_config.norm_eps(config, layout.family)
    return replace(inferred, architecture=architecture.model_copy(update={"norm_eps": eps}))
