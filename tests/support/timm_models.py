"""One or more models of every kind that timm has, by name, with arguments that make them small."""

from __future__ import annotations

from typing import Any

import timm

from benchmarks.families.sizes import MapSizes

ANY, BY_32, PATCHES = MapSizes(), MapSizes(32), MapSizes(16)
FLAT: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 96}
STAGES: dict[str, Any] = {"depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 4), "embed_dim": 16, "img_size": 64}


def only(side_px: int, stride: int = 32) -> MapSizes:
    return MapSizes(stride, side_px)


MODELS: dict[str, tuple[dict[str, Any], MapSizes | None]] = {
    "beit_base_patch16_224": ({**FLAT, "use_shared_rel_pos_bias": True}, ANY),
    "cait_xxs24_224": ({**FLAT}, only(96, 16)),
    "caformer_s18": ({}, BY_32),
    "coat_tiny": (
        {"img_size": 64, "embed_dims": (32,) * 4, "serial_depths": (1,) * 4, "parallel_depth": 1},
        only(64),
    ),
    "coatnet_pico_rw_224" if timm.is_model("coatnet_pico_rw_224") else "coatnet_nano_rw_224": (
        {"img_size": 64, "depths": (1, 1, 1, 1), "embed_dim": (32, 32, 64, 64)},
        only(64),
    ),
    "convmixer_768_32": ({}, None),
    "convnext_atto": ({"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, BY_32),
    "convnextv2_atto": ({"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, BY_32),
    "crossvit_tiny_240": ({"embed_dim": (24, 48), "depth": ((1, 1, 0), (1, 1, 0)), "num_heads": (2, 2)}, None),
    "deit_tiny_distilled_patch16_224": (FLAT, ANY),
    "deit3_small_patch16_224": ({**FLAT, "num_heads": 4}, ANY),
    "densenet121": ({"block_config": (2, 2, 2, 2), "growth_rate": 8}, BY_32),
    "edgenext_xx_small": ({"depths": (1, 1, 2, 1), "dims": (16, 32, 48, 64)}, BY_32),
    "efficientformer_l1": ({"depths": (1, 1, 1, 2), "embed_dims": (16, 24, 32, 48)}, only(224)),
    "efficientnet_b0": ({}, ANY),
    "efficientvit_b0": ({"depths": (1, 1, 1, 1)}, ANY),
    "eva02_tiny_patch14_224": ({**FLAT, "patch_size": 16}, only(96, 16)),
    "focalnet_tiny_srf": ({"mlp_ratio": 0.1}, BY_32),
    "gcvit_xxtiny": ({"img_size": 224, "embed_dim": 32}, only(224)),
    "hiera_tiny_224": ({"embed_dim": 24, "num_heads": 1, "stages": (1, 1, 2, 1), "img_size": 96}, only(96)),
    "inception_next_atto": ({"depths": (1, 1, 1, 1)}, BY_32),
    "levit_128s": ({"embed_dim": (32, 48, 64), "depth": (1, 1, 1), "num_heads": (2, 3, 4)}, None),
    "maxvit_pico_rw_256": (
        {"img_size": 64, "depths": (1, 1, 1, 1), "embed_dim": (32, 32, 64, 64)},
        MapSizes(64),
    ),
    "mobilenetv3_small_050": ({}, ANY),
    "mobilevit_xxs": ({}, ANY),
    "mvitv2_tiny": ({"img_size": 64}, ANY),
    "naflexvit_base_patch16_gap": ({"embed_dim": 48, "depth": 2, "num_heads": 3}, PATCHES),
    "nest_tiny": ({"img_size": 64}, only(64, 16)),
    "pit_ti_224": ({"img_size": 96, "base_dims": (8, 8, 8), "depth": (1, 1, 1), "heads": (2, 2, 2)}, None),
    "pvt_v2_b0": ({"depths": (1, 1, 1, 1)}, ANY),
    "regnetx_002": ({}, ANY),
    "repvit_m1": ({"depth": (1, 1, 1, 1), "embed_dim": (16, 16, 32, 32)}, ANY),
    "resnet10t": ({}, ANY),
    "resnet18": ({"layers": (1, 1, 1, 1)}, ANY),
    "resnetv2_18": ({"layers": (1, 1, 1, 1)}, ANY),
    "samvit_base_patch16_224": ({**FLAT, "global_attn_indexes": (1,), "window_size": 3}, PATCHES),
    "swin_tiny_patch4_window7_224": ({**STAGES, "window_size": 4}, ANY),
    "swinv2_tiny_window8_256": ({**STAGES, "window_size": 4}, ANY),
    "swinv2_cr_tiny_224": ({**STAGES, "window_size": 2}, only(64)),
    "test_mambaout": ({}, ANY),
    "test_nfnet": ({}, ANY),
    "test_vit_relpos": ({"img_size": 96, "depth": 2}, only(96, 16)),
    "tiny_vit_5m_224": ({"depths": (1,) * 4, "embed_dims": (16, 32, 48, 64), "num_heads": (1, 2, 3, 4)}, ANY),
    "tnt_s_legacy_patch16_224": ({"img_size": 64, "depth": 2}, only(64, 16)),
    "twins_svt_small": (
        {"depths": (1, 1, 1, 1), "img_size": 64, "embed_dims": (16, 32, 48, 64), "num_heads": (1, 1, 2, 2)},
        BY_32,
    ),
    "vit_base_patch16_siglip_224": (FLAT, ANY),
    "vit_base_patch32_clip_224": ({**FLAT, "patch_size": 16}, ANY),
    "aimv2_large_patch14_224": ({**FLAT, "patch_size": 16}, ANY),
    "vit_small_patch16_dinov3": ({**FLAT, "num_heads": 3}, PATCHES),
    "vit_pe_core_tiny_patch16_384": (FLAT, only(96, 16)),
    "vit_small_patch16_rope_224": ({**FLAT, "num_heads": 3}, only(96, 16)),
    "vgg11": ({"mlp_ratio": 0.01}, BY_32),
    "volo_d1_224": ({"img_size": 64}, only(64, 16)),
    "xcit_nano_12_p16_224": ({"depth": 2, "embed_dim": 32, "num_heads": 2}, ANY),
}
"""By name, arguments that make it small, and the images of which it makes maps; None where dense tasks refuse it."""
