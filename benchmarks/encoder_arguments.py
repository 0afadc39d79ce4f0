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
    "video ViT": """
        tubelet_size
    """,
    "ResNet and ConvNeXt": """
        layers channels cardinality base_width stem_width stem_type replace_stem_pool block_reduce_first
        avg_down down_kernel_size output_stride aa_layer drop_block_rate zero_init_last dims kernel_sizes
        ls_init_value head_norm_first head_hidden_size conv_mlp conv_bias use_grn
    """,
    "Hiera and SAM": """
        stages q_pool q_stride use_expand_proj dim_mul head_mul sep_pos_embed abs_win_pos_embed global_pos_size
        use_abs_pos use_rel_pos global_attn_indexes neck_chans use_rope mask_unit_attn mask_unit_size
        patch_kernel patch_padding patch_stride global_att_blocks window_spec
    """,
    "transformers in stages: CaiT, CoaT, CrossViT, DaViT, FocalNet, MobileViT, PiT, TNT, Twins, VOLO, XCiT, ...": """
        embed_dims mlp_ratios sr_ratios wss linear depth_token_only mlp_ratio_token_only serial_depths parallel_depth
        crpe_window img_scale crop_scale multi_conv attn_types ffn cpe_act channel_attn_v2 named_blocks
        focal_levels focal_windows use_overlap_down use_post_norm_in_modulation normalize_modulator layerscale_value
        layer_scale norm_layer_cl global_block_counts heads d2_scales use_pos_emb expand_ratio downsample_block
        num_vit pool_size downsamples layer_scale_init_value distilled distillation key_dim attn_ratio down_op use_conv
        kernels num_levels num_blocks base_dims stride inner_dim num_heads_inner num_heads_outer first_stride legacy
        local_conv_size mbconv_expand_ratio window_sizes outlook_attention pooling_scale post_layers stem_hidden_dim
        use_aux_head use_mix_token cls_attn_layers eta tokens_norm use_pos_embed local_up_to_layer locality_strength
        spatial_conv attn_stage group init_channels embed_norm conv_init vit_stem pos_embs down_patch_size down_stride
        transformer_depths state_dim ssd_expand partial_dim qk_dim types attn_groups attn_head_dim_reduction
    """,
    "other ConvNets: DenseNet, EfficientNet, InceptionNeXt, MambaOut, MetaFormer, RDNet, ReXNet, ...": """
        block_config growth_rate bn_size aa_stem_only dim kernel_size widths head_widths width_list depth_list norm_eps
        num_features stem_size stem_kernel_size fix_stem head_bias head_norm pad_type width_factor stem_chs basic preact
        bottle_ratio conv_ratio expansion_ratio downsample stem_mid_norm head_fn token_mixers mlp_bias use_mlp_head
        layer_scale_init_values res_scale_init_values growth_rates num_blocks_list num_init_features is_downsample_block
        bottleneck_width_ratio transition_compression_ratio n_div feature_dim merge_size patch_norm ffn_ratio
        mix_block_ratio strides base_dim width_mult depth_mult initial_chs final_chs se_ratio ch_div scale width
        inference_mode repmixer_kernel_size cls_ratio lkc_use_act se_downsamples stem_use_scale_branch down_pad
        use_layer_scale deepen_factor widen_factor channel_attention groups k_r k_sec inc_sec small b
    """,
}
"""Arguments of timm's model classes, as of 1.0.31, that say how large a model is and what it is made of.

The size of the classifier and the rate of stochastic depth are left out: the program sets them itself.
"""
SHAPING = frozenset(name for names in _PARAMETERS.values() for name in names.split())
_COUNTS = frozenset(
    [
        "depth",
        "depths",
        "layers",
        "stages",
        "serial_depths",
        "parallel_depth",
        "depth_token_only",
        "block_config",
        "num_blocks",
        "num_blocks_list",
        "depth_list",
        "transformer_depths",
        "num_levels",
        "num_vit",
        "cls_attn_layers",
        "global_block_counts",
    ]
)
"""Arguments that say how many blocks there are."""
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
        deepest = DEEPEST if name in _COUNTS else LARGEST
        if not _is_plain(value, deepest, levels=2):
            most = f"a number up to {deepest}, a name of up to {LONGEST} characters"
            rule = f"true, false, null, {most}, or a list of up to {LONGEST} of them"
            raise UserError.about(f"arguments.{name}", _short(value), rule, "correct the encoder's description")


SEQUENCES, NUMBERS = (list, tuple), (int, float)  # made once: a hundred thousand records are checked by them


def _is_plain(value: object, largest: int, levels: int) -> bool:
    if isinstance(value, SEQUENCES):
        return levels > 0 and len(value) <= LONGEST and all(_is_plain(each, largest, levels - 1) for each in value)
    if isinstance(value, str):
        return len(value) <= LONGEST
    return value is None or (isinstance(value, NUMBERS) and abs(value) <= largest)  # NaN is not


def _short(value: object) -> object:
    """Return a value as it is, or the beginning of a long one."""
    if isinstance(value, list | dict) or (isinstance(value, str) and len(value) > LONGEST):
        text = f"{value}"
        return text if len(text) <= 2 * LONGEST else text[: 2 * LONGEST] + "..."
    return value
