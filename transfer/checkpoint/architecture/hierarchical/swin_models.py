"""The Swin and SwinV2 models that timm registers, with the sizes by which an encoder's tensors distinguish them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A registered model. Where a feature map is smaller than the window, timm clips the window to it."""

    name: str
    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int | tuple[int, ...]
    image_size_px: int
    pretrained_windows: tuple[int, ...] = (0, 0, 0, 0)


_TINY, _BASE = (2, 2, 6, 2), (2, 2, 18, 2)
_H3, _H4, _H6 = (3, 6, 12, 24), (4, 8, 16, 32), (6, 12, 24, 48)
SWIN = (
    Known("swin_tiny_patch4_window7_224", 96, _TINY, _H3, 7, 224),
    Known("swin_small_patch4_window7_224", 96, _BASE, _H3, 7, 224),
    Known("swin_base_patch4_window7_224", 128, _BASE, _H4, 7, 224),
    Known("swin_base_patch4_window12_384", 128, _BASE, _H4, 12, 384),
    Known("swin_large_patch4_window7_224", 192, _BASE, _H6, 7, 224),
    Known("swin_large_patch4_window12_384", 192, _BASE, _H6, 12, 384),
    Known("swin_s3_tiny_224", 96, _TINY, _H3, (7, 7, 14, 7), 224),
    Known("swin_s3_small_224", 96, _BASE, _H3, (14, 14, 14, 7), 224),
    Known("swin_s3_base_224", 96, (2, 2, 30, 2), _H3, (7, 7, 14, 7), 224),
)
SWINV2 = (
    Known("swinv2_tiny_window8_256", 96, _TINY, _H3, 8, 256),
    Known("swinv2_tiny_window16_256", 96, _TINY, _H3, 16, 256),
    Known("swinv2_small_window8_256", 96, _BASE, _H3, 8, 256),
    Known("swinv2_small_window16_256", 96, _BASE, _H3, 16, 256),
    Known("swinv2_base_window8_256", 128, _BASE, _H4, 8, 256),
    Known("swinv2_base_window16_256", 128, _BASE, _H4, 16, 256),
    Known("swinv2_base_window12_192", 128, _BASE, _H4, 12, 192),
    Known("swinv2_base_window12to16_192to256", 128, _BASE, _H4, 16, 256, (12, 12, 12, 6)),
    Known("swinv2_base_window12to24_192to384", 128, _BASE, _H4, 24, 384, (12, 12, 12, 6)),
    Known("swinv2_large_window12_192", 192, _BASE, _H6, 12, 192),
    Known("swinv2_large_window12to16_192to256", 192, _BASE, _H6, 16, 256, (12, 12, 12, 6)),
    Known("swinv2_large_window12to24_192to384", 192, _BASE, _H6, 24, 384, (12, 12, 12, 6)),
)
