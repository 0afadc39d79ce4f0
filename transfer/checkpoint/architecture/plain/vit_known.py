"""The ViT and BEiT architectures that timm has names for, with the arguments each name stands for.

A test builds every one of them with timm and reads these arguments back from its tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

Arguments = dict[str, JsonValue]

_VIT: Arguments = {
    "img_size": 224,
    "in_chans": 3,
    "qkv_bias": True,
    "init_values": 0.0,
    "class_token": True,
    "reg_tokens": 0,
    "no_embed_class": False,
    "global_pool": "token",
    "fc_norm": None,
}
_BEIT: Arguments = {
    "img_size": 224,
    "in_chans": 3,
    "qkv_bias": True,
    "init_values": 0.1,
    "use_abs_pos_emb": False,
    "use_rel_pos_bias": True,
    "use_shared_rel_pos_bias": False,
    "use_fc_norm": None,
}


@dataclass(frozen=True)
class Shape:
    """The sizes of an encoder's blocks; encoders with the same are taken to be of the same model."""

    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int
    hidden: int
    """The width of the MLP between its two matrices; for a SwiGLU, of both halves together."""
    swiglu: bool = False


@dataclass(frozen=True)
class Known:
    """One of timm's model names, with the shape and the arguments it stands for."""

    name: str
    shape: Shape
    arguments: Arguments


def _vit(
    name: str, size: tuple[int, int, int], patch: int, hidden: int = 0, *, glu: bool = False, **own: JsonValue
) -> Known:
    shape = Shape(*size, patch, hidden or 4 * size[0], glu)
    return Known(name, shape, {**_VIT, **own})


def _beit(name: str, size: tuple[int, int, int], **own: JsonValue) -> Known:
    return Known(name, Shape(*size, 16, 4 * size[0]), {**_BEIT, **own})


def _dinov2(name: str, size: tuple[int, int, int], hidden: int = 0, *, glu: bool = False) -> tuple[Known, Known]:
    own: Arguments = {"img_size": 518, "init_values": 1e-5}
    registers: Arguments = {**own, "reg_tokens": 4, "no_embed_class": True}
    return (
        _vit(f"vit_{name}_patch14_dinov2", size, 14, hidden, glu=glu, **own),
        _vit(f"vit_{name}_patch14_reg4_dinov2", size, 14, hidden, glu=glu, **registers),
    )


_TINY, _SMALL, _BASE, _LARGE = (192, 12, 3), (384, 12, 6), (768, 12, 12), (1024, 24, 16)
# The first of each kind is the one that encoders of no known size are described by.
VIT: tuple[Known, ...] = (
    _vit("vit_base_patch16_224", _BASE, 16),
    _vit("vit_base_patch16_384", _BASE, 16, img_size=384),
    _vit("vit_base_patch8_224", _BASE, 8),
    _vit("vit_base_patch32_224", _BASE, 32),
    _vit("vit_base_patch32_384", _BASE, 32, img_size=384),
    _vit("vit_tiny_patch16_224", _TINY, 16),
    _vit("vit_tiny_patch16_384", _TINY, 16, img_size=384),
    _vit("vit_small_patch16_224", _SMALL, 16),
    _vit("vit_small_patch16_384", _SMALL, 16, img_size=384),
    _vit("vit_small_patch8_224", _SMALL, 8),
    _vit("vit_small_patch32_224", _SMALL, 32),
    _vit("vit_small_patch32_384", _SMALL, 32, img_size=384),
    _vit("vit_large_patch16_224", _LARGE, 16),
    _vit("vit_large_patch16_384", _LARGE, 16, img_size=384),
    _vit("vit_large_patch14_224", _LARGE, 14),
    _vit("vit_large_patch32_224", _LARGE, 32),
    _vit("vit_large_patch32_384", _LARGE, 32, img_size=384),
    _vit("vit_huge_patch14_224", (1280, 32, 16), 14),
    _vit("vit_giant_patch14_224", (1408, 40, 16), 14, 6144),
    _vit("vit_gigantic_patch14_224", (1664, 48, 16), 14, 8192),
    *_dinov2("small", _SMALL),
    *_dinov2("base", _BASE),
    *_dinov2("large", _LARGE),
)
SWIGLU: tuple[Known, ...] = _dinov2("giant", (1536, 40, 24), 8192, glu=True)
BEIT: tuple[Known, ...] = (
    _beit("beit_base_patch16_224", _BASE),
    _beit("beit_base_patch16_384", _BASE, img_size=384),
    _beit("beit_large_patch16_224", _LARGE, init_values=1e-5),
    _beit("beit_large_patch16_384", _LARGE, img_size=384, init_values=1e-5),
    _beit("beit_large_patch16_512", _LARGE, img_size=512, init_values=1e-5),
)
# Published encoders whose heads are not 64 wide, by width and MLP width: mmpretrain small, so400m, huge (MAE, timm),
# giant, giantopt (DINOv2's giant, as wide, has a SwiGLU and heads of 64), gigantic.
HEADS_BY_SIZE = {
    (768, 2304): 8,
    (1152, 4304): 16,
    (1280, 5120): 16,
    (1408, 6144): 16,
    (1536, 6144): 16,
    (1664, 8192): 16,
}
