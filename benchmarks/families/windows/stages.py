"""Windows of several stages, as timm takes them for an argument and clips them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from benchmarks.encoders import plain_window, windows_as_json
from benchmarks.families.windows.position_tables import Size

Sizes = tuple[Size, ...]
"""Rows and columns of the window of each stage, in tokens."""


def clipped(windows: Sizes, image_size_px: int, stage_px: Sequence[int]) -> Sizes:
    """Return windows as timm clips them to feature maps that are smaller."""
    sides = [-(-image_size_px // px) for px in stage_px]
    return tuple((min(w[0], side), min(w[1], side)) for w, side in zip(windows, sides, strict=True))


def window_argument(windows: Sizes, image_size_px: int, stage_px: Sequence[int]) -> JsonValue:
    """Return one window where timm's clipping to the feature maps gives all the others, else one for each stage."""
    first = windows[0]
    if clipped((first,) * len(windows), image_size_px, stage_px) == windows:
        window = plain_window(first)
        return window if isinstance(window, int) else list(window)
    if len(windows) == 2:  # timm takes two numbers for the height and the width of one window
        return [list(window) for window in windows]
    return windows_as_json(windows)
