"""Plain transformers beyond ViT and BEiT that timm has names for, with the sizes that each name stands for.

A test reads every size back from timm itself.
"""

from __future__ import annotations

from benchmarks.families.plain.video_vit import SIZES, TUBELET
from transfer.checkpoint.architecture.plain.vit_known import Arguments, Known, Shape


def _known(name: str, size: tuple[int, int, int], patch: int, image: int, hidden: int = 0, act: str = "") -> Known:
    arguments: Arguments = {"img_size": image, "in_chans": 3, **({"act_layer": act} if act else {})}
    return Known(name, Shape(*size, patch, hidden or 4 * size[0]), arguments)


def _of_clips(name: str) -> Known:
    size = SIZES[name]
    width, patch = size["embed_dim"], size.get("patch_size", 16)
    shape = Shape(width, size["depth"], size["num_heads"], patch, int(width * size.get("mlp_ratio", 4)))
    own: Arguments = {"tubelet_size": TUBELET, "qkv_bias": True, "use_fc_norm": False}
    return Known(name, shape, {"img_size": size["img_size"], "in_chans": 3, **own})


_TINY, _SMALL, _BASE, _LARGE, _HUGE = (192, 12, 3), (384, 12, 6), (768, 12, 12), (1024, 24, 16), (1280, 32, 16)
_GIANT, _GIGANTIC, _SO400M = (1408, 40, 16), (1664, 48, 16), (1152, 27, 16)

CLIP = (
    _known("vit_base_patch16_clip_224", _BASE, 16, 224),
    _known("vit_base_patch16_clip_384", _BASE, 16, 384),
    _known("vit_base_patch32_clip_224", _BASE, 32, 224),
    _known("vit_base_patch32_clip_256", _BASE, 32, 256),
    _known("vit_base_patch32_clip_384", _BASE, 32, 384),
    _known("vit_base_patch32_clip_448", _BASE, 32, 448),
    _known("vit_medium_patch16_clip_224", (512, 12, 8), 16, 224),
    _known("vit_medium_patch32_clip_224", (512, 12, 8), 32, 224),
    _known("vit_betwixt_patch32_clip_224", (640, 12, 10), 32, 224),
    _known("vit_xsmall_patch16_clip_224", (256, 10, 4), 16, 224),
    _known("vit_base_patch16_plus_clip_240", (896, 12, 14), 16, 240),
    _known("vit_large_patch14_clip_224", _LARGE, 14, 224),
    _known("vit_large_patch14_clip_336", _LARGE, 14, 336),
    _known("vit_huge_patch14_clip_224", _HUGE, 14, 224),
    _known("vit_huge_patch14_clip_336", _HUGE, 14, 336),
    _known("vit_huge_patch14_clip_378", _HUGE, 14, 378),
    _known("vit_giant_patch14_clip_224", _GIANT, 14, 224, 6144),
    _known("vit_gigantic_patch14_clip_224", _GIGANTIC, 14, 224, 8192),
    _known("vit_gigantic_patch14_clip_378", _GIGANTIC, 14, 378, 8192),
)
QUICK = "vit_base_patch16_clip_quickgelu_224"
CLIP_QUICKGELU = (
    _known(QUICK, _BASE, 16, 224),
    _known("vit_base_patch32_clip_quickgelu_224", _BASE, 32, 224),
    _known("vit_large_patch14_clip_quickgelu_224", _LARGE, 14, 224),
    _known("vit_large_patch14_clip_quickgelu_336", _LARGE, 14, 336),
    _known("vit_huge_patch14_clip_quickgelu_224", _HUGE, 14, 224),
    _known("vit_huge_patch14_clip_quickgelu_378", _HUGE, 14, 378),
    _known("vit_gigantic_patch14_clip_quickgelu_224", _GIGANTIC, 14, 224, 8192),
)
_GELU, _TANH = "gelu", "gelu_tanh"
SIGLIP = (
    *(_known(f"vit_base_patch16_siglip_{size}", _BASE, 16, size, act=_GELU) for size in (224, 256, 384, 512)),
    _known("vit_base_patch32_siglip_256", _BASE, 32, 256, act=_TANH),
    *(_known(f"vit_large_patch16_siglip_{size}", _LARGE, 16, size, act=_GELU) for size in (256, 384)),
    _known("vit_large_patch16_siglip_512", _LARGE, 16, 512, act=_TANH),
    *(_known(f"vit_so400m_patch14_siglip_{size}", _SO400M, 14, size, 4304, act=_GELU) for size in (224, 378, 384)),
    *(_known(f"vit_so400m_patch16_siglip_{size}", _SO400M, 16, size, 4304, act=_TANH) for size in (256, 384, 512)),
    *(_known(f"vit_giantopt_patch16_siglip_{size}", (1536, 40, 16), 16, size, 6144, act=_TANH) for size in (256, 384)),
)
AIMV2 = tuple(
    _known(f"aimv2_{name}_patch14_{size}", sizes, 14, size, hidden)
    for name, sizes, hidden in (
        ("large", (1024, 24, 8), 2816),
        ("huge", (1536, 24, 12), 4096),
        ("1b", (2048, 24, 16), 5632),
        ("3b", (3072, 24, 24), 8192),
    )
    for size in (224, 336, 448)
)
DISTILLED = (
    _known("deit_base_distilled_patch16_224", _BASE, 16, 224),
    _known("deit_base_distilled_patch16_384", _BASE, 16, 384),
    _known("deit_small_distilled_patch16_224", _SMALL, 16, 224),
    _known("deit_tiny_distilled_patch16_224", _TINY, 16, 224),
)
EVA01 = tuple(_known(f"eva_giant_patch14_{size}", _GIANT, 14, size, 6144) for size in (224, 336, 560))
EVA01_CLIP = (_known("eva_giant_patch14_clip_224", _GIANT, 14, 224, 6144),)
EVA01_ENORMOUS = (_known("eva02_enormous_patch14_clip_224", (1792, 64, 16), 14, 224, 15360),)
EVA02_FUSED = tuple(
    _known(f"eva02_{name}_patch14_{size}", sizes, 14, size, hidden)
    for name, sizes, hidden in (("tiny", _TINY, 512), ("small", _SMALL, 1024))
    for size in (224, 336)
)
EVA02 = tuple(
    _known(f"eva02_{name}_patch14_{size}", sizes, 14, size, hidden)
    for name, sizes, hidden in (("base", _BASE, 2048), ("large", _LARGE, 2730))
    for size in (224, 448)
)
EVA02_CLIP = (
    _known("eva02_base_patch16_clip_224", _BASE, 16, 224, 2048),
    _known("eva02_large_patch14_clip_224", _LARGE, 14, 224, 2730),
    _known("eva02_large_patch14_clip_336", _LARGE, 14, 336, 2730),
)
DINOV3 = (
    _known("vit_base_patch16_dinov3", _BASE, 16, 256),
    _known("vit_small_patch16_dinov3", _SMALL, 16, 256),
    _known("vit_large_patch16_dinov3", _LARGE, 16, 256),
)
DINOV3_BIASED = (
    _known("vit_base_patch16_dinov3_qkvb", _BASE, 16, 256),
    _known("vit_small_patch16_dinov3_qkvb", _SMALL, 16, 256),
    _known("vit_large_patch16_dinov3_qkvb", _LARGE, 16, 256),
    _known("vit_tiny_patch16_dinov3_qkvb", _TINY, 16, 256),
)
DINOV3_GATED = (
    _known("vit_small_plus_patch16_dinov3", _SMALL, 16, 256, 1536),
    _known("vit_huge_plus_patch16_dinov3", (1280, 32, 20), 16, 256, 5120),
    _known("vit_7b_patch16_dinov3", (4096, 40, 32), 16, 256, 8192),
)
DINOV3_GATED_BIASED = (
    _known("vit_small_plus_patch16_dinov3_qkvb", _SMALL, 16, 256, 1536),
    _known("vit_huge_plus_patch16_dinov3_qkvb", (1280, 32, 20), 16, 256, 5120),
)
_PE_GIGANTIC = 8960
PE_CORE = (
    _known("vit_pe_core_base_patch16_224", _BASE, 16, 224),
    _known("vit_pe_core_tiny_patch16_384", _TINY, 16, 384),
    _known("vit_pe_core_small_patch16_384", _SMALL, 16, 384),
    _known("vit_pe_core_large_patch14_336", _LARGE, 14, 336),
)
PE_CORE_GIGANTIC = (_known("vit_pe_core_gigantic_patch14_448", (1536, 50, 16), 14, 448, _PE_GIGANTIC),)
PE_LANG = (_known("vit_pe_lang_large_patch14_448", (1024, 23, 16), 14, 448),)
PE_LANG_GIGANTIC = (
    _known("vit_pe_lang_gigantic_patch14_448", (1536, 47, 16), 14, 448, _PE_GIGANTIC),
    _known("vit_pe_spatial_gigantic_patch14_448", (1536, 50, 16), 14, 448, _PE_GIGANTIC),
)
PE_SPATIAL = (
    _known("vit_pe_spatial_base_patch16_512", _BASE, 16, 512),
    _known("vit_pe_spatial_tiny_patch16_512", _TINY, 16, 512),
    _known("vit_pe_spatial_small_patch16_512", _SMALL, 16, 512),
    _known("vit_pe_spatial_large_patch14_448", _LARGE, 14, 448),
)
VJEPA2 = tuple(_of_clips(name) for name, size in SIZES.items() if size["rotary"])
VIDEOMAE = tuple(_of_clips(name) for name, size in SIZES.items() if not size["rotary"])
EVERY = (
    *(CLIP + CLIP_QUICKGELU + SIGLIP + AIMV2 + DISTILLED),
    *(EVA01 + EVA01_CLIP + EVA01_ENORMOUS + EVA02_FUSED + EVA02 + EVA02_CLIP),
    *(DINOV3 + DINOV3_BIASED + DINOV3_GATED + DINOV3_GATED_BIASED),
    *(PE_CORE + PE_CORE_GIGANTIC + PE_LANG + PE_LANG_GIGANTIC + PE_SPATIAL),
    *(VJEPA2 + VIDEOMAE),
)
