"""Which of timm's arguments an encoder's description may give: those that shape the model, and no others.

Manifests, config.json files and YAML may come from other people. timm.create_model also takes arguments that fetch
weights from a URL or read them from a file, so what is not listed here is refused before timm sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.errors import UserError, did_you_mean

_PARAMETERS = {
    "every family": """
        img_size patch_size in_chans global_pool embed_dim depth depths num_heads mlp_ratio qkv_bias qk_norm
        init_values drop_rate pos_drop_rate patch_drop_rate proj_drop_rate attn_drop_rate norm_layer act_layer
        weight_init fix_init
    """,
    "Swin and SwinV2": """
        head_dim window_size window_ratio always_partition strict_img_size dynamic_img_size dynamic_img_pad
        pretrained_window_sizes extra_norm_period extra_norm_stage sequential_attn
    """,
    "ViT and DeiT": """
        class_token pos_embed no_embed_class reg_tokens pre_norm final_norm fc_norm pool_include_prefix
        proj_bias scale_attn_norm scale_mlp_norm rel_pos_type rel_pos_dim shared_rel_pos
    """,
    "BEiT and EVA": """
        use_abs_pos_emb use_rel_pos_bias use_shared_rel_pos_bias use_rot_pos_emb use_fc_norm head_init_scale
        swiglu_mlp swiglu_align_to scale_mlp scale_attn_inner attn_type num_kv_heads qkv_fused num_reg_tokens
        ref_feat_shape attn_only_layer_scale use_post_norm use_pre_transformer_norm use_post_transformer_norm
        attn_pool_num_heads attn_pool_mlp_ratio rope_type rope_grid_offset rope_grid_indexing rope_temperature
        rope_rotate_half rope_shift_coords rope_jitter_coords rope_rescale_coords rope_mrope_section
    """,
    "ResNet and ConvNeXt": """
        layers channels cardinality base_width stem_width stem_type replace_stem_pool block_reduce_first
        avg_down down_kernel_size output_stride aa_layer drop_block_rate zero_init_last dims kernel_sizes
        ls_init_value head_norm_first head_hidden_size conv_mlp conv_bias use_grn
    """,
    "Hiera and SAM": """
        stages q_pool q_stride use_expand_proj dim_mul head_mul sep_pos_embed abs_win_pos_embed global_pos_size
        use_abs_pos use_rel_pos global_attn_indexes neck_chans window_spec global_att_blocks
    """,
}
"""Arguments of timm's model classes, as of 1.0.31, that say how large a model is and what it is made of.

The size of the classifier and the rate of stochastic depth are left out: the program sets them itself.
"""
SHAPING = frozenset(name for names in _PARAMETERS.values() for name in names.split())
LARGEST = 2**16
"""The largest number that an argument may be: an image side, a width."""
DEEPEST = 1024
"""The largest number of blocks."""
LONGEST = 64
"""The most entries of a list, and characters of a name."""


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise UserError, naming the argument, for one that does not shape a model or whose value no model has."""
    for name, value in arguments.items():
        if name not in SHAPING:
            near = did_you_mean(name, SHAPING).split("Known:")[0]
            rule = "an argument that shapes a model (embed_dim, depths, window_size, ...); no others are passed to timm"
            raise UserError.about(f"arguments.{name[:LONGEST]}", _short(value), rule, f"leave it out. {near}".strip())
        deepest = DEEPEST if name in ("depth", "depths", "layers", "stages") else LARGEST
        if not _is_plain(value, deepest, levels=2):
            most = f"a number up to {deepest}, a name of up to {LONGEST} characters"
            rule = f"true, false, null, {most}, or a list of up to {LONGEST} of them"
            raise UserError.about(f"arguments.{name}", _short(value), rule, "correct the encoder's description")


def _is_plain(value: object, largest: int, levels: int) -> bool:
    if isinstance(value, list | tuple):
        return levels > 0 and len(value) <= LONGEST and all(_is_plain(each, largest, levels - 1) for each in value)
    if isinstance(value, str):
        return len(value) <= LONGEST
    return value is None or (isinstance(value, int | float) and abs(value) <= largest)  # NaN is not


def _short(value: object) -> object:
    """Return a value as it is, or the beginning of a long one."""
    if isinstance(value, list | dict) or (isinstance(value, str) and len(value) > LONGEST):
        text = f"{value}"
        return text if len(text) <= 2 * LONGEST else text[: 2 * LONGEST] + "..."
    return value
