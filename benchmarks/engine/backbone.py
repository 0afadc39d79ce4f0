"""timm models from an `Architecture`."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from benchmarks.encoders import Architecture, unknown_architecture
from benchmarks.errors import UserError


def build_backbone(
    architecture: Architecture,
    image_size_px: int | None,
    *,
    num_classes: int = 0,
    drop_path_rate: float = 0.0,
    whole_windows: bool = True,
) -> nn.Module:
    """Build a timm model with random weights; `num_classes=0` leaves the classifier out.

    `whole_windows` refuses image sizes whose maps are no multiples of the window (see `check_windows`); dense features,
    which do not run timm's own forward, have no such limit.
    Raises UserError when timm does not know the name, or refuses the arguments or the image size.
    """
    if not timm.is_model(architecture.name):
        raise unknown_architecture(architecture.name, timm.list_models())
    if image_size_px is not None:
        architecture = sized(architecture, image_size_px)
    arguments: dict[str, Any] = dict(architecture.arguments)
    try:
        model: nn.Module = timm.create_model(
            architecture.name, num_classes=num_classes, drop_path_rate=drop_path_rate, **arguments
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        shown = f"{architecture.name} {arguments}"
        rule = f"arguments that timm accepts ({error})"
        raise UserError.about("encoder", shown, rule, "mend encoder.arguments or image_size_px") from None
    if whole_windows:
        check_windows(model)
    if architecture.norm_eps is not None:
        _set_norm_eps(model, architecture.norm_eps)
    return model


def sized(architecture: Architecture, image_size_px: int) -> Architecture:
    """Return the architecture built for an image size; one that takes any size, as ConvNets do, as it is."""
    about = timm.get_pretrained_cfg(architecture.name, allow_unregistered=True)
    built_for_one_size = about is None or about.fixed_input_size
    return architecture.at_size(image_size_px) if built_for_one_size else architecture


def _set_norm_eps(model: nn.Module, eps: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps


def check_windows(model: nn.Module) -> None:
    """Refuse maps that are no multiple of the window: timm then rolls before it pads, and borders attend wrongly.

    Source: huggingface/pytorch-image-models issue 2438.
    """
    for name, module in model.named_modules():
        window, resolution = getattr(module, "window_size", None), getattr(module, "input_resolution", None)
        if not (isinstance(window, tuple) and isinstance(resolution, tuple)):
            continue
        if any(side % step for side, step in zip(resolution, window, strict=True)):
            rule = f"a size whose feature maps are multiples of the window ({name}: {resolution}, window {window})"
            remedy = "another image_size_px or window_size, e.g. 224 with 7, 192 with 6"
            raise UserError.about("image_size_px", _image_size(model), rule, remedy)


def _image_size(model: nn.Module) -> int | tuple[int, int]:
    """Return the image size a timm model was built for: one side where it is square."""
    embed: Any = model.patch_embed
    height, width = embed.img_size
    return height if height == width else (height, width)


def patch_size(backbone: nn.Module) -> int:
    """Return the side in pixels of the patches that a model sees; 1 for one without patches, as ConvNets are."""
    embed: Any = getattr(backbone, "patch_embed", None)
    return int(embed.patch_size[0]) if embed is not None else 1


def window_size(backbone: nn.Module) -> int | None:
    """Return the reference window of a windowed transformer, None for others."""
    layers = getattr(backbone, "layers", None)
    blocks = getattr(layers[0], "blocks", None) if layers is not None and len(layers) else None
    window = getattr(blocks[0], "window_size", None) if blocks else None
    return int(window[0]) if window else None
