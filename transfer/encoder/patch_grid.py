"""How many patches a frozen encoder makes of a square image."""

from __future__ import annotations

import math

from benchmarks.errors import UserError
from transfer.encoder.features import FrozenEncoder, Summary, blocks_of


def patches_along_a_side(encoder: FrozenEncoder, patches: Summary, image_size_px: int) -> int:
    """Return how many patches an image has along a side, of all those in a summary of a layer.

    Raises UserError for an encoder that gives no patches, and where a patch is no whole number of pixels wide.
    """
    blocks_of(encoder.backbone)  # refuses one whose tokens are not known
    width = encoder.widths[encoder.layers.index(patches.layer)]
    count = encoder.summary_width(patches) // width
    side = math.isqrt(count)
    if side**2 != count or image_size_px % side:
        rule = f"a multiple of the patches' side (the encoder makes {count} of an image)"
        raise UserError.about("image_size_px", image_size_px, rule, "another size of the images")
    return side
