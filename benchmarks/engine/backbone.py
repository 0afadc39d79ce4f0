"""timm models from an `Architecture`."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import timm
import torch
from torch import nn

from benchmarks.encoders import Architecture, unknown_architecture
from benchmarks.engine.own_code import build_own, is_own
from benchmarks.engine.without_values import WithoutValues
from benchmarks.errors import UserError
from benchmarks.families.sizes import REFUSALS, refusal
from benchmarks.families.table import family_named, family_of, plugin_families
from benchmarks.families.timm_model import built_for
from benchmarks.families.torchvision_model import (
    USUAL_PX,
    TorchvisionModel,
    is_network,
    is_torchvisions,
    takes_one_size,
)

_STRETCHED = "ref_feat_shape"
"""timm's argument for the grid to which rotary positions are stretched."""


def build_backbone(
    architecture: Architecture,
    image_size_px: int | None,
    *,
    num_classes: int = 0,
    drop_path_rate: float = 0.0,
    whole_windows: bool = True,
) -> nn.Module:
    """Build a model of timm's, torchvision's or own code, of random weights; `num_classes=0` leaves the classifier out.

    `whole_windows` refuses image sizes that timm's own forward refuses, or computes wrongly (`Family.check_windows`).
    Dense features, which do not run it, have no such limit; a model for them alone is built for images of any size,
    where its family can. A model without stochastic depth leaves `drop_path_rate` out. Raises UserError when timm does
    not know the name, or refuses the arguments or the image size.
    """
    if is_own(architecture.name):
        return build_own(architecture, image_size_px, num_classes, drop_path_rate)
    if not is_known(architecture.name):
        raise unknown_architecture(architecture.name, timm.list_models())
    built = architecture if image_size_px is None else sized(architecture, image_size_px)
    arguments: dict[str, Any] = {"num_classes": num_classes, "drop_path_rate": drop_path_rate, **built.arguments}
    if not whole_windows:
        arguments = {**family_named(built.name).dense_arguments, **arguments}
    try:
        model = _create(built.name, arguments)
    except REFUSALS as error:
        raise _refused(architecture, built, image_size_px, str(error)) from None
    family = family_of(model)
    if whole_windows:
        family.check_image_size()
    if whole_windows and image_size_px is not None and not family.sizes_known:
        refused = family.refused_size(image_size_px)
        if refused is not None:
            _explain_size(architecture, image_size_px, refused)
    if architecture.norm_eps is not None:
        _set_norm_eps(model, architecture.norm_eps)
    if architecture.arguments.get(_STRETCHED, ()) is None:
        _count_patches(model)
    return model


def _refused(architecture: Architecture, built: Architecture, image_size_px: int | None, error: str) -> UserError:
    """Return the error for what timm refuses to build; raise the one with the nearest size, where there is one."""
    if image_size_px is not None and not family_named(architecture.name).sizes_known:
        _explain_size(architecture, image_size_px, error)
    fixed = re.search(r"multiple values for keyword argument '(\w+)'", error)
    why = f"{architecture.name} has its own {fixed[1]}, which cannot be changed" if fixed else error
    shown, rule = f"{architecture.name} {built.arguments}", f"arguments that timm accepts ({why})"
    return UserError.about("encoder", shown, rule, "correct encoder.arguments or image_size_px")


def is_known(name: str) -> bool:
    """Tell whether timm has a model of this name, or a plugin, or torchvision a network (`torchvision:NAME`)."""
    if is_torchvisions(name):
        return is_network(name)
    return timm.is_model(name) or (bool(plugin_families()) and timm.is_model(name))  # plugins register theirs


def _create(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Create a model, which notes how; one whose class has no stochastic depth does without the rate."""
    hollow = torch.get_default_device().type == "meta"
    create: Any = TorchvisionModel if is_torchvisions(name) else timm.create_model
    with WithoutValues() if hollow else contextlib.nullcontext():
        try:
            model: Any = create(name, **arguments)
        except TypeError as error:
            if "drop_path_rate" not in str(error):
                raise
            model = create(name, **{key: arguments[key] for key in arguments if key != "drop_path_rate"})
    as_built = json.dumps([name, {**arguments, "drop_path_rate": None}], sort_keys=True, default=str)
    built_for(model, arguments.get("img_size"), as_built)
    found: nn.Module = model
    return found


def _explain_size(architecture: Architecture, side_px: int, refused: str) -> None:
    """Raise UserError with the nearest size that the architecture takes; return where it takes none."""
    about: Any = timm.get_pretrained_cfg(architecture.name, allow_unregistered=True)
    usual = USUAL_PX if is_torchvisions(architecture.name) else int(about.input_size[-1])
    around = {usual, *(step * (round(side_px / step) + off) for step in (16, 32, 64) for off in (-1, 0, 1))}
    near = sorted((each for each in around if each > 0 and each != side_px), key=lambda each: abs(each - side_px))
    able = next((each for each in near if _runs_at(architecture, each)), None)
    if able is not None:
        rule = f"a size that {architecture.name} takes ({refused})"
        raise UserError.about("image_size_px", side_px, rule, f"image_size_px={able} is the nearest that it takes")


def _runs_at(architecture: Architecture, side_px: int) -> bool:
    """Tell whether timm's own forward takes images of this side, once the model is built for them."""
    try:
        with torch.device("meta"):
            model = _create(architecture.name, {"num_classes": 0, **sized(architecture, side_px).arguments})
    except REFUSALS:
        return False
    return refusal(model.eval(), family_of(model).in_chans, side_px) is None


def sized(architecture: Architecture, image_size_px: int) -> Architecture:
    """Return the architecture built for an image size; one that takes any size, as ConvNets do, is left as it is."""
    if is_own(architecture.name):
        return architecture
    if is_torchvisions(architecture.name):
        return architecture.at_size(image_size_px) if takes_one_size(architecture.name) else architecture
    about = timm.get_pretrained_cfg(architecture.name, allow_unregistered=True)
    built_for_one_size = about is None or about.fixed_input_size
    return architecture.at_size(image_size_px) if built_for_one_size else architecture


def _count_patches(model: Any) -> None:
    """Let rotary positions count patches on every grid: timm leaves out what is None, and stretches them to its own."""
    model.rope.ref_feat_shape = None
    model.rope.init_non_persistent_buffers()


def _set_norm_eps(model: nn.Module, eps: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
