"""The layouts of SwinV2 encoders. What they share with Swin's is in `swin.py`, the sources included.

SwinV2's keys have no bias; timm keeps the biases of queries and values as `q_bias` and `v_bias`. A small network
(`cpb_mlp`) stands in place of the tables, so that no parameter depends on the window.
"""

from __future__ import annotations

from transfer.checkpoint.layouts.hierarchical.swin import (
    HF_BLOCK,
    HF_RULES,
    MICROSOFT_RULES,
    MM_BLOCK,
    MM_RULES,
    TIMM_BLOCK,
    TORCHVISION_BLOCK,
    from_unfold,
    is_flat,
    is_microsoft,
    is_timm,
    name_last_norm,
    number_last_norm,
    read_torchvision,
    to_unfold,
    write_torchvision,
)
from transfer.checkpoint.layouts.layout import Layout, Shapes, Weights
from transfer.checkpoint.layouts.renaming import Rule, join, matches, split, to_ours, to_theirs

_NETWORK = r"(logit_scale|cpb_mlp\..+|rpe_mlp\..+|continuous_position_bias_mlp\..+)"
_BLOCK = "layers.{i}.blocks.{j}."
_PARTS = (".attn.q.weight", ".attn.k.weight", ".attn.v.weight")

_MICROSOFT_RULES = (
    *MICROSOFT_RULES,
    Rule(_BLOCK + "attn.cpb_mlp.{rest}", _BLOCK + "attn.cpb_mlp.{rest}"),
    # Its name in microsoft's first SimMIM checkpoints.
    Rule(_BLOCK + "attn.rpe_mlp.{rest}", _BLOCK + "attn.cpb_mlp.{rest}"),
)
_MMPRETRAIN_RULES = (
    *MM_RULES,
    Rule(
        "stages.{i}.downsample.reduction.{rest}",
        "layers.{i}.downsample.reduction.{rest}",
        read=from_unfold,
        write=to_unfold,
    ),
    Rule("stages.{i}.downsample.{rest}", "layers.{i}.downsample.{rest}"),
)
_SELF = "encoder.layers.{i}.blocks.{j}.attention.self."
_HF_RULES = (
    Rule(_SELF + "query.bias", _BLOCK + "attn.q_bias"),
    Rule(_SELF + "value.bias", _BLOCK + "attn.v_bias"),
    Rule(_SELF + "query.weight", _BLOCK + "attn.q.weight"),
    Rule(_SELF + "key.weight", _BLOCK + "attn.k.weight"),
    Rule(_SELF + "value.weight", _BLOCK + "attn.v.weight"),
    Rule(_SELF + "continuous_position_bias_mlp.{rest}", _BLOCK + "attn.cpb_mlp.{rest}"),
    *HF_RULES,
)


def _has_network(shapes: Shapes, prefix: str) -> bool:
    return is_flat(shapes) and matches(shapes, prefix + _NETWORK)


def _read_torchvision(weights: Weights) -> Weights:
    """Split torchvision's joined bias and drop the keys' part, which torchvision sets to zero whenever it is used."""
    parts = split(read_torchvision(weights), ".attn.qkv.bias", (".attn.q_bias", ".attn.k_bias", ".attn.v_bias"))
    return {name: tensor for name, tensor in parts.items() if not name.endswith(".attn.k_bias")}


def _write_torchvision(weights: Weights) -> Weights:
    biases = {name: tensor for name, tensor in weights.items() if name.endswith(".attn.q_bias")}
    zeros = {name.replace("q_bias", "k_bias"): tensor.new_zeros(tensor.shape) for name, tensor in biases.items()}
    joined = join({**weights, **zeros}, (".attn.q_bias", ".attn.k_bias", ".attn.v_bias"), ".attn.qkv.bias")
    return write_torchvision({name: tensor for name, tensor in joined.items() if not name.endswith(".attn.k_bias")})


def _read_hf(weights: Weights) -> Weights:
    return join(to_ours(weights, _HF_RULES), _PARTS, ".attn.qkv.weight")


def _write_hf(weights: Weights) -> Weights:
    return to_theirs(split(weights, ".attn.qkv.weight", _PARTS), _HF_RULES)


SWINV2_LAYOUTS: tuple[Layout, ...] = (
    Layout(
        name="torchvision-swinv2",
        family="swinv2",
        description="torchvision's swin_v2_t, swin_v2_s, swin_v2_b",
        recognises=lambda shapes: _has_network(shapes, TORCHVISION_BLOCK + r"attn\."),
        to_timm=_read_torchvision,
        from_timm=_write_torchvision,
    ),
    Layout(
        name="huggingface-swinv2",
        family="swinv2",
        description="Hugging Face transformers' SwinV2 (Swinv2Model, with and without a head)",
        recognises=lambda shapes: _has_network(shapes, HF_BLOCK + r"attention\.self\."),
        to_timm=_read_hf,
        from_timm=_write_hf,
    ),
    Layout(
        name="mmpretrain-swinv2",
        family="swinv2",
        description="OpenMMLab's SwinV2 (mmpretrain)",
        recognises=lambda shapes: _has_network(shapes, MM_BLOCK + r"attn\.w_msa\."),
        to_timm=lambda weights: name_last_norm(to_ours(weights, _MMPRETRAIN_RULES)),
        from_timm=lambda weights: to_theirs(number_last_norm(weights), _MMPRETRAIN_RULES),
    ),
    Layout(
        name="microsoft-swinv2",
        family="swinv2",
        description="microsoft/Swin-Transformer's SwinV2, SimMIM's with `rpe_mlp` included; timm before 0.9",
        recognises=lambda shapes: _has_network(shapes, TIMM_BLOCK + r"attn\.") and is_microsoft(shapes),
        to_timm=lambda weights: to_ours(weights, _MICROSOFT_RULES),
        from_timm=lambda weights: to_theirs(weights, _MICROSOFT_RULES),
    ),
    Layout(
        name="timm-swinv2",
        family="swinv2",
        description="timm since 0.9, and what this program exports",
        recognises=lambda shapes: _has_network(shapes, TIMM_BLOCK + r"attn\.") and is_timm(shapes),
        to_timm=dict,
        from_timm=dict,
    ),
)
