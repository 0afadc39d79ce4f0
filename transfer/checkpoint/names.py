"""The names that tensors have in a layout's own files, for messages: people never see timm's names in theirs."""

from __future__ import annotations

import torch

from transfer.checkpoint.layout import Weights
from transfer.checkpoint.layouts import LAYOUTS


def names_in_file(layout_name: str, whole: Weights, missing: str, leftover: tuple[str, ...] = ()) -> str:
    """Return ` (in the file: NAME)` for a tensor under timm's name, ` (timm's name)` where the layout cannot tell.

    `whole` holds a complete encoder's tensors in timm's layout; `leftover` what the file has without a place in it,
    which is not told as missing.
    """
    layout = next((layout for layout in LAYOUTS if layout.name == layout_name), None)
    if layout_name == "mimbench" or (layout is not None and layout.name.startswith("timm-")):
        return ""
    if layout is None or layout.from_timm is None:
        return " (timm's name)"
    parts = {name: torch.empty(3, device="meta") for name in leftover}
    tensors = {missing: parts.get(missing, torch.empty(3, device="meta")), **whole}
    tensors = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    without = {name: tensor for name, tensor in tensors.items() if name != missing}
    names = layout.from_timm(tensors).keys() - layout.from_timm(without).keys()
    names -= layout.from_timm({name: part for name, part in parts.items() if name != missing}).keys()
    return f" (in the file: {', '.join(sorted(names))})" if names else " (timm's name)"
