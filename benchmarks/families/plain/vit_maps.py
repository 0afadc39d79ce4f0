"""The feature map of ViT and BEiT for images of any size: position embeddings and bias tables follow the grid."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.beit import gen_relative_position_index
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention

from benchmarks.families.blocks import run_as
from benchmarks.families.resize import resize_positions
from benchmarks.families.windows.position_tables import Size, TableMode, resize_table
from benchmarks.families.windows.swin_maps import embed_patches


def vit_map(model: Any, images: Tensor) -> Tensor:
    """Return the map [B, D, ceil(H/p), ceil(W/p)] of a ViT, before the last norm."""
    tokens, grid = _tokens(model, images)
    tokens = model.norm_pre(tokens)
    for block in model.blocks:
        tokens = block(tokens)
    return _as_map(tokens, grid)


def beit_map(model: Any, images: Tensor, mode: TableMode) -> Tensor:
    """Return a BEiT's map [B, D, ceil(H/p), ceil(W/p)], before the last norm; `mode` resizes tables to the grid."""
    tokens, grid = _tokens(model, images)
    with images.device:
        index = gen_relative_position_index(grid)
    shared = _bias(model.rel_pos_bias, index, grid, mode)
    for block in model.blocks:
        bias = _bias(block.attn, index, grid, mode)
        bias = shared if bias is None else bias if shared is None else bias + shared
        tokens = run_as(block, _beit_block, tokens, bias)
    return _as_map(tokens, grid)


def position_prefix(model: Any) -> int:
    """Return how many position embeddings of a ViT or BEiT belong to class and register tokens."""
    return 0 if getattr(model, "no_embed_class", False) else int(model.num_prefix_tokens)


def _tokens(model: Any, images: Tensor) -> tuple[Tensor, Size]:
    """Return tokens [B, prefix + h * w, D] with positions, and their grid (h, w)."""
    patches = embed_patches(model.patch_embed, images)
    grid = (patches.shape[1], patches.shape[2])
    tokens, positions = patches.flatten(1, 2), model.pos_embed
    prefix = [getattr(model, name, None) for name in ("cls_token", "dist_token", "reg_token")]
    extra = [token.expand(len(tokens), -1, -1) for token in prefix if token is not None]
    count = position_prefix(model)
    if positions is not None:
        positions = resize_positions(positions, model.patch_embed.grid_size, grid, count)
        if not count:  # these positions are for the patches alone
            tokens, positions = tokens + positions, None
    tokens = torch.cat([*extra, tokens], dim=1)
    return model.pos_drop(tokens if positions is None else tokens + positions), grid


def _as_map(tokens: Tensor, grid: Size) -> Tensor:
    """Return the patch tokens of [B, prefix + h * w, D] as a map [B, D, h, w]."""
    patches = tokens[:, tokens.shape[1] - grid[0] * grid[1] :]
    return patches.transpose(1, 2).reshape(len(tokens), -1, *grid)


def _bias(owner: Any, index: Tensor, grid: Size, mode: TableMode) -> Tensor | None:
    """Return the bias [heads, N, N] of a BEiT table on a grid; None where `owner` has no table."""
    table = getattr(owner, "relative_position_bias_table", None)
    if table is None:
        return None
    window: Size = owner.window_size
    resized = table if tuple(window) == grid else resize_table(table, window, grid, mode)
    bias: Tensor = resized[index].permute(2, 0, 1)
    return bias


def _beit_block(block: Any, tokens: Tensor, bias: Tensor | None) -> Tensor:
    """Run one BEiT block with this bias in place of its own, which fits only the grid the model was built for."""
    attended, scaled = _beit_attention(block.attn, block.norm1(tokens), bias), block.gamma_1 is not None
    tokens = tokens + block.drop_path1(block.gamma_1 * attended if scaled else attended)
    widened = block.mlp(block.norm2(tokens))
    result: Tensor = tokens + block.drop_path2(block.gamma_2 * widened if scaled else widened)
    return result


def _beit_attention(attn: Any, tokens: Tensor, bias: Tensor | None) -> Tensor:
    """Attend over [B, N, D]. BEiT has a bias for queries and values, none for keys."""
    qkv_bias = None if attn.q_bias is None else torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
    qkv = linear(tokens, attn.qkv.weight, qkv_bias).reshape(*tokens.shape[:2], 3, attn.num_heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    dropout = attn.attn_drop.p if attn.training else 0.0
    mask = None if bias is None else bias.to(query.dtype)
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=attn.scale)
    projected: Tensor = attn.proj_drop(attn.proj(attended.transpose(1, 2).flatten(2)))
    return projected
