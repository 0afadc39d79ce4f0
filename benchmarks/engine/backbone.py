"""timm models from an `Architecture`."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from benchmarks.encoders import Architecture, unknown_architecture
from benchmarks.engine.own_code import build_own, is_own
from benchmarks.errors import UserError
from benchmarks.families.table import family_of


def build_backbone(
    architecture: Architecture,
    image_size_px: int | None,
    *,
    num_classes: int = 0,
    drop_path_rate: float = 0.0,
    whole_windows: bool = True,
) -> nn.Module:
    """Build a timm model with random weights; `num_classes=0` leaves the classifier out.

    `whole_windows` refuses image sizes that are no whole number of patches or whose maps are no multiples of the window
    (see `Family.check_windows`); dense features, which do not run timm's own forward, have no such limit.
    Raises UserError when timm does not know the name, or refuses the arguments or the image size.
    """
    if is_own(architecture.name):
        return build_own(architecture, image_size_px, num_classes, drop_path_rate)
    if not timm.is_model(architecture.name):
        raise unknown_architecture(architecture.name, timm.list_models())
    if image_size_px is not None:
        architecture = sized(architecture, image_size_px)
    arguments: dict[str, Any] = dict(architecture.arguments)
    try:
        model: nn.Module = timm.create_model(
            architecture.name, num_classes=num_classes, drop_path_rate=drop_path_rate, **arguments
        )
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
        shown = f"{architecture.name} {arguments}"
        rule = f"arguments that timm accepts ({error})"
        raise UserError.about("encoder", shown, rule, "correct encoder.arguments or image_size_px") from None
    if whole_windows:
        family_of(model).check_image_size()
    if architecture.norm_eps is not None:
        _set_norm_eps(model, architecture.norm_eps)
    return model


def sized(architecture: Architecture, image_size_px: int) -> Architecture:
    """Return the architecture built for an image size; one that takes any size, as ConvNets do, is left as it is."""
    if is_own(architecture.name):
        return architecture
    about = timm.get_pretrained_cfg(architecture.name, allow_unregistered=True)
    built_for_one_size = about is None or about.fixed_input_size
    return architecture.at_size(image_size_px) if built_for_one_size else architecture


def _set_norm_eps(model: nn.Module, eps: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
