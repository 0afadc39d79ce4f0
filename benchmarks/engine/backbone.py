"""timm models from an `Architecture`."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from benchmarks.encoders import Architecture, unknown_architecture
from benchmarks.errors import UserError


def build_backbone(
    architecture: Architecture, image_size_px: int | None, *, num_classes: int = 0, drop_path_rate: float = 0.0
) -> nn.Module:
    """Build a timm model with random weights; `num_classes=0` leaves the classifier out.

    Raises UserError when timm does not know the name, or refuses the arguments or the image size.
    """
    if not timm.is_model(architecture.name):
        raise unknown_architecture(architecture.name, timm.list_models())
    arguments: dict[str, Any] = dict(architecture.arguments)
    if image_size_px is not None:
        arguments["img_size"] = image_size_px
    try:
        model: nn.Module = timm.create_model(
            architecture.name, num_classes=num_classes, drop_path_rate=drop_path_rate, **arguments
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        shown = f"{architecture.name} {arguments}"
        rule = f"arguments that timm accepts ({error})"
        raise UserError.about("encoder", shown, rule, "mend encoder.arguments or image_size_px") from None
    _check_windows(model, architecture, image_size_px)
    return model


def _check_windows(model: nn.Module, architecture: Architecture, image_size_px: int | None) -> None:
    """Refuse maps that are no multiple of the window: timm then rolls before it pads, and borders attend wrongly.

    Source: huggingface/pytorch-image-models issue 2438.
    """
    for name, module in model.named_modules():
        window, resolution = getattr(module, "window_size", None), getattr(module, "input_resolution", None)
        if not (isinstance(window, tuple) and isinstance(resolution, tuple)):
            continue
        if any(side % step for side, step in zip(resolution, window, strict=True)):
            rule = f"a size whose feature maps are multiples of the window ({name}: {resolution}, window {window})"
            remedy = f"another image_size_px or window_size for {architecture.name}, e.g. 224 with 7, 192 with 6"
            raise UserError.about("image_size_px", image_size_px, rule, remedy)


def window_size(backbone: nn.Module) -> int | None:
    """Return the reference window of a windowed transformer, None for others."""
    layers = getattr(backbone, "layers", None)
    blocks = getattr(layers[0], "blocks", None) if layers is not None and len(layers) else None
    window = getattr(blocks[0], "window_size", None) if blocks else None
    return int(window[0]) if window else None
