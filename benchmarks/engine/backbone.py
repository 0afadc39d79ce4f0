"""timm models from an `Architecture`."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from benchmarks.encoders import Architecture, WindowSize, plain_window, unknown_architecture
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

    `whole_windows` refuses image sizes that are no whole number of patches or whose maps are no multiples of the window
    (see `check_windows`); dense features, which do not run timm's own forward, have no such limit.
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
        _check_patches(model)
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


def _check_patches(model: nn.Module) -> None:
    """Refuse images that are no whole number of patches, which timm would refuse at the first batch."""
    embed: Any = getattr(model, "patch_embed", None)
    size, patch = getattr(embed, "img_size", None), getattr(embed, "patch_size", None)
    if isinstance(size, tuple) and isinstance(patch, tuple) and any(s % p for s, p in zip(size, patch, strict=True)):
        rule = f"a multiple of the patch size ({patch[0]} px)"
        raise UserError.about("image_size_px", _image_size(model), rule, "another image_size_px or patch_size_px")


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


def stage_windows(backbone: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return the rows and columns of each stage's windows, as timm clipped them; empty without windows."""
    stages: list[Any] = [getattr(layer, "blocks", ()) for layer in getattr(backbone, "layers", ())]
    windows = [getattr(blocks[0], "window_size", None) for blocks in stages if len(blocks)]
    return tuple((int(window[0]), int(window[1])) for window in windows if window)


def patch_size(backbone: nn.Module) -> int:
    """Return the side in pixels of the patches that a model sees; 1 for one without patches, as ConvNets are."""
    embed: Any = getattr(backbone, "patch_embed", None)
    return int(embed.patch_size[0]) if embed is not None else 1


def window_size(backbone: nn.Module) -> WindowSize | None:
    """Return the reference window of a windowed transformer, None for others."""
    windows = stage_windows(backbone)
    return plain_window(windows[0]) if windows else None
