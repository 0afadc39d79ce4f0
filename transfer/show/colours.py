"""Colours of classes: as far apart as may be, and the same for a class on every picture of a task."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]
GOLDEN = 0.618033988749895
"""Of the golden ratio: steps of it around the circle of hues never come close to an earlier one."""


def colour_of(number: int) -> Colour:
    """Return the colour of a class, which are numbered from 0, as red, green and blue of 0 to 255."""
    value = 0.95 if number % 2 == 0 else 0.65
    saturation = 0.55 if number % 3 == 2 else 0.9
    red, green, blue = colorsys.hsv_to_rgb((number * GOLDEN) % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def as_hex(colour: Colour) -> str:
    """Return a colour as #RRGGBB."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
