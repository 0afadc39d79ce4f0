"""All known layouts, and finding the one that a set of tensors is in."""

from __future__ import annotations

from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.layouts.beit import BEIT_LAYOUTS
from transfer.checkpoint.layouts.layout import Layout
from transfer.checkpoint.layouts.swin import SWIN_LAYOUTS
from transfer.checkpoint.layouts.swinv2 import SWINV2_LAYOUTS
from transfer.checkpoint.layouts.vit import VIT_LAYOUTS

LAYOUTS: tuple[Layout, ...] = (*SWIN_LAYOUTS, *SWINV2_LAYOUTS, *BEIT_LAYOUTS, *VIT_LAYOUTS)


def identify(tensors: dict[str, Tensor]) -> Layout:
    """Return the layout of `tensors`, by their names and shapes. Raises UserError unless exactly one fits."""
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
