"""Other libraries' encoders and ours with the same weights, to compare features.

Weights are copied module by module, so that these comparisons rest on no key names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pad

DEPTHS, HEADS, WIDTH = [2, 2, 2, 2], [1, 2, 4, 8], 16
SIZES = [(101, 157), (200, 333), (40, 500)]
"""Heights and widths that are multiples of neither window nor patch; small maps are covered by a single window."""


def images(height: int, width: int) -> Tensor:
    torch.manual_seed(height * 1000 + width)
    return torch.randn(2, 3, height, width)


def whole_patches(batch: Tensor, patch: int) -> Tensor:
    """Pad as our encoder does, for libraries that cut incomplete patches off or refuse them."""
    return pad(batch, (0, -batch.shape[3] % patch, 0, -batch.shape[2] % patch))


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest absolute difference over all levels of maps [B, D, h, w], each token normalised.

    Normalised, because maps grow from stage to stage and every head starts with a norm.
    """
    assert [item.shape for item in found] == [item.shape for item in expected]
    return max(float((normed(one) - normed(two)).abs().max()) for one, two in zip(found, expected, strict=True))


def normed(feature: Tensor) -> Tensor:
    return layer_norm(feature.permute(0, 2, 3, 1), feature.shape[1:2])


def copy(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy a layer's weights; both must have the same."""
    ours.load_state_dict(theirs.state_dict())


def copy_swin(
    ours: Any, stem: tuple[Any, Any], mergings: list[Any], stages: list[Any], block: Callable[..., None]
) -> None:
    """Copy a Swin: `stem` is projection and norm, `block` copies one block."""
    copy(ours.patch_embed.proj, stem[0])
    copy(ours.patch_embed.norm, stem[1])
    for stage, merging in zip(ours.layers[1:], mergings, strict=True):
        copy(stage.downsample.reduction, merging.reduction)
        copy(stage.downsample.norm, merging.norm)
    for stage, theirs in zip(ours.layers, stages, strict=True):
        for one, two in zip(stage.blocks, theirs, strict=True):
            block(one, two)


@torch.no_grad()
def copy_qkv(attn: Any, weight: Tensor, bias: Tensor) -> None:
    """Copy joined queries, keys and values; SwinV2 has no bias for keys."""
    attn.qkv.weight.copy_(weight)
    if attn.qkv.bias is not None:
        attn.qkv.bias.copy_(bias)
    else:
        query, _, value = bias.chunk(3)
        attn.q_bias.copy_(query)
        attn.v_bias.copy_(value)


def copy_torchvision(ours: Any, theirs: Any) -> None:
    def block(one: Any, two: Any) -> None:
        for mine, other in ((one.norm1, two.norm1), (one.norm2, two.norm2), (one.attn.proj, two.attn.proj)):
            copy(mine, other)
        copy(one.mlp.fc1, two.mlp[0])
        copy(one.mlp.fc2, two.mlp[3])
        copy_qkv(one.attn, two.attn.qkv.weight, two.attn.qkv.bias)
        copy_bias(one.attn, two.attn)

    layers = theirs.features
    copy_swin(ours, (layers[0][0], layers[0][2]), list(layers[2::2]), list(layers[1::2]), block)


@torch.no_grad()
def copy_bias(attn: Any, theirs: Any, mlp: str = "cpb_mlp") -> None:
    """Copy a relative position table, or what SwinV2 has in its place."""
    if hasattr(attn, "logit_scale"):
        attn.logit_scale.copy_(theirs.logit_scale)
        copy(attn.cpb_mlp, getattr(theirs, mlp))
    else:
        attn.relative_position_bias_table.copy_(theirs.relative_position_bias_table)


@torch.no_grad()
def torchvision_maps(model: Any, batch: Tensor) -> list[Tensor]:
    """Return the outputs of torchvision's four stages."""
    maps, tokens = [], whole_patches(batch, 4)
    for index, layer in enumerate(model.features):
        tokens = layer(tokens)
        if index % 2:
            maps.append(tokens.permute(0, 3, 1, 2))
    return maps


def copy_transformers_swin(ours: Any, theirs: Any) -> None:
    def block(one: Any, two: Any) -> None:
        attention = two.attention
        parts = [attention.q_proj, attention.k_proj, attention.v_proj]
        copy_qkv(one.attn, torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))
        copy(one.attn.proj, attention.o_proj)
        copy_bias(one.attn, attention.relative_position_bias)
        copy(one.norm1, two.layernorm_before)
        copy(one.norm2, two.layernorm_after)
        copy(one.mlp.fc1, two.mlp.fc1)
        copy(one.mlp.fc2, two.mlp.fc2)

    _copy_transformers(ours, theirs.swin, block)


def copy_transformers_swinv2(ours: Any, theirs: Any) -> None:
    def block(one: Any, two: Any) -> None:
        attention = two.attention.self
        parts = [attention.query, attention.key, attention.value]
        bias = torch.cat([attention.query.bias, torch.zeros_like(attention.query.bias), attention.value.bias])
        copy_qkv(one.attn, torch.cat([p.weight for p in parts]), bias)
        copy(one.attn.proj, two.attention.output.dense)
        copy_bias(one.attn, attention, "continuous_position_bias_mlp")
        copy(one.norm1, two.layernorm_before)
        copy(one.norm2, two.layernorm_after)
        copy(one.mlp.fc1, two.intermediate.dense)
        copy(one.mlp.fc2, two.output.dense)

    _copy_transformers(ours, theirs, block)


def _copy_transformers(ours: Any, theirs: Any, block: Callable[..., None]) -> None:
    stages, embeddings = list(theirs.encoder.layers), theirs.embeddings
    stem = (embeddings.patch_embeddings.projection, embeddings.norm)
    copy_swin(ours, stem, [stage.downsample for stage in stages[:-1]], [stage.blocks for stage in stages], block)


def copy_mmseg(ours: Any, theirs: Any) -> None:
    """mmseg merges patches in the order of `unfold`: channel first, then row and column."""

    def block(one: Any, two: Any) -> None:
        copy_qkv(one.attn, two.attn.w_msa.qkv.weight, two.attn.w_msa.qkv.bias)
        copy_bias(one.attn, two.attn.w_msa)
        for mine, other in ((one.attn.proj, two.attn.w_msa.proj), (one.norm1, two.norm1), (one.norm2, two.norm2)):
            copy(mine, other)
        copy(one.mlp.fc1, two.ffn.layers[0][0])
        copy(one.mlp.fc2, two.ffn.layers[1])

    mergings = [_merging(stage.downsample) for stage in theirs.stages[:-1]]
    stem = (theirs.patch_embed.projection, theirs.patch_embed.norm)
    copy_swin(ours, stem, mergings, [stage.blocks for stage in theirs.stages], block)


def _merging(theirs: Any) -> nn.Module:
    """Reorder inputs [D, row, column] of a merging to ours, [column, row, D]."""
    four = theirs.norm.normalized_shape[0]
    order = torch.arange(four).reshape(four // 4, 2, 2).permute(2, 1, 0).flatten()
    ours = nn.Module()
    ours.norm, ours.reduction = nn.LayerNorm(four), nn.Linear(four, four // 2, bias=False)
    ours.norm.load_state_dict({"weight": theirs.norm.weight[order], "bias": theirs.norm.bias[order]})
    ours.reduction.load_state_dict({"weight": theirs.reduction.weight[:, order]})
    return ours


@torch.no_grad()
def copy_transformers_vit(ours: Any, theirs: Any) -> None:
    """Copy transformers' ViT or BEiT, without a table that layers share."""
    ours.cls_token.copy_(theirs.embeddings.cls_token)
    if ours.pos_embed is not None:
        ours.pos_embed.copy_(theirs.embeddings.position_embeddings)
    copy(ours.patch_embed.proj, theirs.embeddings.patch_embeddings.projection)
    for one, two in zip(ours.blocks, theirs.layers, strict=True):
        attention = two.attention
        biases = [attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias]
        biases = [torch.zeros_like(biases[0]) if bias is None else bias for bias in biases]
        weights = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        copy_qkv(one.attn, torch.cat(weights), torch.cat(biases))
        copy(one.attn.proj, attention.o_proj)
        copy(one.norm1, two.layernorm_before)
        copy(one.norm2, two.layernorm_after)
        copy(one.mlp.fc1, two.mlp.fc1)
        copy(one.mlp.fc2, two.mlp.fc2)
        if getattr(two, "relative_position_bias", None) is not None:
            copy_bias(one.attn, two.relative_position_bias)
        if hasattr(two, "lambda_1"):
            one.gamma_1.copy_(two.lambda_1)
            one.gamma_2.copy_(two.lambda_2)
