"""All known layouts, and finding the one that a set of tensors is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import plugins
from benchmarks.errors import UserError
from transfer.checkpoint.layouts.hierarchical.convnext import CONVNEXT_LAYOUTS
from transfer.checkpoint.layouts.hierarchical.hiera import WINDOWED_LAYOUTS
from transfer.checkpoint.layouts.hierarchical.resnet import RESNET_LAYOUTS
from transfer.checkpoint.layouts.hierarchical.swin import SWIN_LAYOUTS
from transfer.checkpoint.layouts.hierarchical.swinv2 import SWINV2_LAYOUTS
from transfer.checkpoint.layouts.hierarchical.torchvision import TORCHVISION_LAYOUTS
from transfer.checkpoint.layouts.layout import Layout, Shapes
from transfer.checkpoint.layouts.plain.beit import BEIT_LAYOUTS
from transfer.checkpoint.layouts.plain.clip import TOWER_LAYOUTS
from transfer.checkpoint.layouts.plain.eva import EVA_LAYOUTS
from transfer.checkpoint.layouts.plain.video import VIDEO_LAYOUTS
from transfer.checkpoint.layouts.plain.vit import VIT_LAYOUTS
from transfer.checkpoint.layouts.plain.vit_mmpretrain import CLIP_MMPRETRAIN, SAM_MMPRETRAIN
from transfer.checkpoint.layouts.refused import refuse_known

if TYPE_CHECKING:
    from torch import Tensor

_REMEDY = (
    "for a model of timm add --architecture NAME, or put timm's config.json beside the file; `mimbench list formats` "
    "shows the layouts that are recognised without either"
)
LAYOUTS: tuple[Layout, ...] = (
    *SWIN_LAYOUTS,
    *SWINV2_LAYOUTS,
    *BEIT_LAYOUTS,
    *VIT_LAYOUTS,
    CLIP_MMPRETRAIN,
    SAM_MMPRETRAIN,
    *TOWER_LAYOUTS,
    *EVA_LAYOUTS,
    *VIDEO_LAYOUTS,
    *WINDOWED_LAYOUTS,
    *RESNET_LAYOUTS,
    *CONVNEXT_LAYOUTS,
    *TORCHVISION_LAYOUTS,
)

TIMM = Layout(
    "timm",
    "timm",
    "any model of timm, where --architecture NAME or timm's config.json says which",
    lambda _: False,
    dict,
    dict,
)
"""The names of the model that is stated, whatever it is."""


def plugin_layouts() -> list[tuple[plugins.Plugin, Layout]]:
    """Return the layouts that other packages add."""
    return plugins.working("layouts", frozenset(layout.name for layout in (*LAYOUTS, TIMM)))


def _recognised(shapes: Shapes) -> list[Layout]:
    """Return the layouts that tensors are in; those of other packages are asked where none of ours recognises them."""
    found = [layout for layout in LAYOUTS if layout.recognises(shapes)]
    for plugin, layout in [] if found else plugin_layouts():
        try:
            recognised = layout.recognises(shapes)
        except Exception as error:
            raise plugin.wrong(f"one whose `recognises` takes any tensors ({type(error).__name__}: {error})") from error
        if recognised:
            plugins.use(plugin)
            found.append(layout)
    return found


def identify(tensors: dict[str, Tensor]) -> Layout:
    """Return the layout of `tensors`, by their names and shapes. Raises UserError unless exactly one fits."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = _recognised(shapes)
    if len(found) == 1:
        return found[0]
    if not found:
        refuse_known(shapes)
    names = sorted(tensors)
    listed = ", ".join([*names[:4], *(["..."] if len(names) > 5 else []), *names[4:][-1:]])
    shown = f"{len(names)} tensors: {listed}" if names else "no tensors"
    if found:
        rule = f"in one layout, not in {' and '.join(layout.name for layout in found)}"
        raise UserError.about("checkpoint", shown, rule, "save one encoder alone")
    raise UserError.about("checkpoint", shown, "an encoder in a known layout", _REMEDY)


def identify_or_timm(tensors: dict[str, Tensor]) -> Layout:
    """Return the layout of an encoder whose architecture is on record: one that is known, else timm's own names."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = _recognised(shapes)
    return found[0] if len(found) == 1 else TIMM
