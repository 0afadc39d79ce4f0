"""What papers call an encoder: by width, depth, heads and patch, never by the name of the timm model alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from pydantic import JsonValue

from benchmarks.encoders import Architecture


class Shape(NamedTuple):
    """What makes a backbone the one that a paper names; windows and image sizes differ within one name."""

    family: str
    width: int
    """Channels after the patch embedding."""
    depths: tuple[int, ...]
    """Blocks of each stage."""
    heads: tuple[int, ...]
    patch_px: int


DEEP = (2, 2, 18, 2)
BACKBONES = {
    "Swin-T": Shape("swin", 96, (2, 2, 6, 2), (3, 6, 12, 24), 4),
    "Swin-S": Shape("swin", 96, DEEP, (3, 6, 12, 24), 4),
    "Swin-B": Shape("swin", 128, DEEP, (4, 8, 16, 32), 4),
    "Swin-L": Shape("swin", 192, DEEP, (6, 12, 24, 48), 4),
    "SwinV2-T": Shape("swinv2", 96, (2, 2, 6, 2), (3, 6, 12, 24), 4),
    "SwinV2-S": Shape("swinv2", 96, DEEP, (3, 6, 12, 24), 4),
    "SwinV2-B": Shape("swinv2", 128, DEEP, (4, 8, 16, 32), 4),
    "SwinV2-L": Shape("swinv2", 192, DEEP, (6, 12, 24, 48), 4),
    "SwinV2-H": Shape("swinv2", 352, DEEP, (11, 22, 44, 88), 4),
    "SwinV2-g": Shape("swinv2", 448, DEEP, (14, 28, 56, 112), 4),
    "SwinV2-G": Shape("swinv2", 512, (2, 2, 42, 4), (16, 32, 64, 128), 4),
    "ViT-T": Shape("vit", 192, (12,), (3,), 16),
    "ViT-S": Shape("vit", 384, (12,), (6,), 16),
    "ViT-B": Shape("vit", 768, (12,), (12,), 16),
    "ViT-L": Shape("vit", 1024, (24,), (16,), 16),
    "ViT-H": Shape("vit", 1280, (32,), (16,), 14),
    "ResNet-50": Shape("resnet", 64, (3, 4, 6, 3), (), 4),
}
"""Sources: arXiv:2103.14030, 2111.09883 (SwinV2-H, SwinV2-G), 2010.11929, 1512.03385. SwinV2-g is the largest model of
microsoft/Swin-Transformer's MODELHUB.md, 1.06B parameters: the width that this number leaves at depths 2, 2, 18, 2."""

SIZES = {"tiny": "T", "small": "S", "base": "B", "large": "L", "huge": "H"}
PREFIXES = {"swin": "Swin", "swinv2": "SwinV2", "vit": "ViT", "deit": "ViT", "beit": "ViT", "beitv2": "ViT"}
TIMM_NAME = re.compile(
    rf"(?P<prefix>{'|'.join(PREFIXES)})_(?P<size>{'|'.join(SIZES)})"
    r"(_patch(?P<patch>\d+))?(_clip|_window\d+(to\d+)?)?(_\d+(to\d+)?)"
)
"""Of the plain models; others of these families (registers, rotary positions, ...) have other blocks."""

GIVEN: dict[str, Callable[[Shape, JsonValue], Shape]] = {
    "embed_dim": lambda shape, value: shape._replace(width=_whole(value)),
    "depths": lambda shape, value: shape._replace(depths=_wholes(value)),
    "depth": lambda shape, value: shape._replace(depths=_wholes(value)),
    "num_heads": lambda shape, value: shape._replace(heads=_wholes(value)),
    "patch_size": lambda shape, value: shape._replace(patch_px=_whole(value)),
}
"""How timm's arguments change a shape."""
NEUTRAL = (
    *("img_size", "in_chans", "window_size", "pretrained_window_sizes", "always_partition"),
    *("strict_img_size", "dynamic_img_size", "dynamic_img_pad", "global_pool", "drop_rate"),
    *("pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "init_values"),
    *("weight_init", "fix_init", "zero_init_last", "use_abs_pos_emb", "use_rel_pos_bias"),
    *("use_shared_rel_pos_bias", "use_fc_norm", "fc_norm", "final_norm", "head_init_scale"),
    *("class_token", "pos_embed", "no_embed_class", "qkv_bias"),
)
"""timm's arguments that leave a backbone its name: sizes of images and windows, positions, what is around blocks."""


def backbone_name(architecture: Architecture) -> str | None:
    """Return what papers call an architecture, such as Swin-B; None where they have no name for it."""
    shape = shape_of(architecture)
    return next((name for name, known in BACKBONES.items() if known == shape), None)


def shape_of(architecture: Architecture) -> Shape | None:
    """Return the shape of a model; None for one of unknown family, or with an argument that makes another block."""
    shape = _shape_of_timm(architecture.name.partition(".")[0])
    for argument, value in architecture.arguments.items():
        if shape is None or argument in NEUTRAL:
            continue
        shape = GIVEN[argument](shape, value) if argument in GIVEN else None
    return shape


def _shape_of_timm(name: str) -> Shape | None:
    if name == "resnet50":
        return BACKBONES["ResNet-50"]
    found = TIMM_NAME.fullmatch(name)
    if found is None:
        return None
    shape = BACKBONES.get(f"{PREFIXES[found['prefix']]}-{SIZES[found['size']]}")
    return shape._replace(patch_px=int(found["patch"])) if shape and found["patch"] else shape


def _whole(value: JsonValue) -> int:
    return value if isinstance(value, int) else -1


def _wholes(value: JsonValue) -> tuple[int, ...]:
    return tuple(map(_whole, value)) if isinstance(value, list | tuple) else (_whole(value),)
