"""Swin and SwinV2 as a training step runs them fastest: the same numbers as timm's own forward, to the order of sums.

Tokens stay in the order of windows through all stages (`order.py`); attention is one step with a bias that all
images share (`attention.py`); under autocast, tokens have the lower precision from the patch embedding on, so
that norms and sums of branches cast nothing to and fro.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import torch
from timm.layers import Mlp
from timm.layers.activations import GELU
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, normalize

from benchmarks.families.blocks import Step, run_as
from benchmarks.families.products import LinearByOneDNN, is_plain, linear_by, linear_of
from benchmarks.families.windows.attention import window_attention
from benchmarks.families.windows.order import Grid, stage_orders
from benchmarks.families.windows.recomputed import linear_of_gelu, linear_of_norm

MOST_LOGIT_SCALE = math.log(100.0)
"""SwinV2's logarithms of temperatures are cut off here."""

KINDS_OF_BLOCKS = 64
"""How many graphs torch may keep of one function, for models of several sizes in one process; its own limit is 8."""


def runs_in_window_order(model: Any) -> bool:
    """Tell whether `features_in_window_order` knows all that this model does to its tokens."""
    stages = [list(stage.blocks) for stage in model.layers]
    halved = all(
        (2 * after[0].input_resolution[0], 2 * after[0].input_resolution[1]) == tuple(before[0].input_resolution)
        for before, after in itertools.pairwise(stages)
    )
    whole = all(
        side % step == 0
        for blocks in stages
        for block in blocks
        for side, step in zip(block.input_resolution, block.window_size, strict=True)
    )
    drops = [each.p for each in model.modules() if isinstance(each, nn.Dropout)]
    dynamic = any(getattr(block, "dynamic_mask", False) for blocks in stages for block in blocks)
    norms = all(isinstance(norm, nn.LayerNorm | nn.Identity) for norm in _norms(model))
    return halved and whole and norms and not any(drops) and not dynamic


def _norms(model: Any) -> list[nn.Module]:
    found = [model.patch_embed.norm, model.norm]
    for stage in model.layers:
        found += [norm for block in stage.blocks for norm in (block.norm1, block.norm2)]
        found += [] if isinstance(stage.downsample, nn.Identity) else [stage.downsample.norm]
    return found


def features_in_window_order(
    model: Any, images: Tensor, hidden: Tensor, token: Tensor, *, compiled: bool = False
) -> Tensor:
    """Return the features [B, N, D] of images [B, C, H, W] in whose hidden patches `token` stands, row by row.

    `hidden` [B, H/p, W/p] is bool. The features are those of timm's forward, with its norm after the last block.
    `compiled` runs blocks through torch.compile, one graph for all blocks of a stage whose windows lie alike.
    """
    grids = tuple(tuple(_grid(block) for block in stage.blocks) for stage in model.layers)
    stages, to_rows = stage_orders(grids, images.device)
    tokens = _embedded(model.patch_embed, images)
    tokens = torch.where(hidden.flatten(1).unsqueeze(-1), token.to(tokens.dtype).flatten(0, 2), tokens)
    is_second = isinstance(model, SwinTransformerV2)
    run_block = _norms_after if is_second else _norms_before
    run_block = _compiled(run_block) if compiled else run_block
    for stage, order in zip(model.layers, stages, strict=True):
        if order.merge is not None:
            fours = order.merge(tokens).reshape(len(tokens), -1, 4 * tokens.shape[2])
            tokens = _merged(stage.downsample, fours, is_second)
        for block, reorder in zip(stage.blocks, order.blocks, strict=True):
            tokens = run_as(block, run_block, tokens if reorder is None else reorder(tokens))
    tokens = _normed(model.norm, tokens)
    return tokens if to_rows is None else to_rows(tokens)


@functools.cache
def _compiled(run_block: Step) -> Step:
    """Return a block's function compiled anew for each kind of block, of which a model has two in each stage."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, KINDS_OF_BLOCKS)
    return torch.compile(run_block, dynamic=False)


def _grid(block: Any) -> Grid:
    return Grid(tuple(block.input_resolution), tuple(block.window_size), tuple(block.shift_size))


def _embedded(embed: Any, images: Tensor) -> Tensor:
    """Return tokens [B, H/p * W/p, D]; patches are multiplied by the kernel as one matrix."""
    rows, columns = embed.patch_size
    batch, channels, height, width = images.shape
    patches = images.reshape(batch, channels, height // rows, rows, width // columns, columns).permute(0, 2, 4, 1, 3, 5)
    tokens = linear(patches.flatten(3).flatten(1, 2), embed.proj.weight.flatten(1), embed.proj.bias)
    return _normed(embed.norm, tokens)


def _merged(merging: Any, tokens: Tensor, is_second: bool) -> Tensor:
    """Return merged tokens [B, N, 2D] of four tokens each [B, N, 4D]: SwinV2's norm comes last, Swin's first."""
    if is_second:
        return _normed(merging.norm, merging.reduction(tokens))
    return _linear_of_norm(merging.norm, merging.reduction, tokens)


def _normed(norm: nn.Module, tokens: Tensor) -> Tensor:
    """Normalise tokens in their own precision, which autocast would raise."""
    if not isinstance(norm, nn.LayerNorm) or tokens.dtype == norm.weight.dtype:
        result: Tensor = norm(tokens)
        return result
    with torch.autocast(tokens.device.type, enabled=False):
        weight, bias = norm.weight.to(tokens.dtype), norm.bias.to(tokens.dtype)
        return layer_norm(tokens, norm.normalized_shape, weight, bias, norm.eps)


def _norms_before(block: Any, tokens: Tensor) -> Tensor:
    """Run one block of Swin on tokens [B, N, D], which normalises before attention and MLP."""
    tokens = tokens + block.drop_path1(_attend(block, tokens))
    if _is_plain(block.mlp):
        widened = _linear_of_norm(block.norm2, block.mlp.fc1, tokens)
        result: Tensor = tokens + block.drop_path2(linear_of_gelu(widened, block.mlp.fc2))
    else:
        result = tokens + block.drop_path2(block.mlp(_normed(block.norm2, tokens)))
    return result


def _norms_after(block: Any, tokens: Tensor) -> Tensor:
    """Run one block of SwinV2 on tokens [B, N, D], which normalises after attention and MLP."""
    tokens = tokens + block.drop_path1(_normed(block.norm1, _attend_by_angle(block, tokens)))
    branch = linear_of_gelu(block.mlp.fc1(tokens), block.mlp.fc2) if _is_plain(block.mlp) else block.mlp(tokens)
    result: Tensor = tokens + block.drop_path2(_normed(block.norm2, branch))
    return result


def _is_plain(mlp: Any) -> bool:
    """Tell whether an MLP is two linear layers around GELU, whose output need not be kept.

    A compiler decides by itself what it computes again.
    """
    kinds = type(mlp) is Mlp and is_plain(mlp.fc2) and type(mlp.act) in (nn.GELU, GELU)
    return kinds and isinstance(mlp.norm, nn.Identity) and not torch.compiler.is_compiling()


def _linear_of_norm(norm: nn.Module, layer: nn.Linear, tokens: Tensor) -> Tensor:
    """Normalise tokens in their own precision and multiply them; what is between the two is not kept."""
    if isinstance(norm, nn.LayerNorm) and not torch.compiler.is_compiling():
        return linear_of_norm(tokens, norm, layer)
    result: Tensor = layer(_normed(norm, tokens))
    return result


def _linear_of(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """Multiply tokens in their own precision."""
    own = is_plain(layer) and not torch.compiler.is_compiling()
    result: Tensor = linear_of(tokens, layer) if own else layer(tokens)
    return result


def _attend(block: Any, tokens: Tensor) -> Tensor:
    """Attend as Swin does to normalised tokens, by scaled products and a table of biases.

    Between tokens that were no neighbours before a shift, timm adds -100 to the products, which makes weights of 1e-44.
    Every sum loses these, but a CPU multiplies numbers too small for fp32's normal form many times as slowly as others:
    here they are 0.
    """
    attention = block.attn
    packed = _packed(block, _linear_of_norm(block.norm1, attention.qkv, tokens)).contiguous()
    bias = _bias(attention, attention.relative_position_bias_table)
    if block.attn_mask is not None:
        bias = bias.masked_fill(block.attn_mask.unsqueeze(1) < 0, -math.inf)
    found = window_attention(packed, bias, attention.scale)
    return _linear_of(attention.proj, found.view(*tokens.shape[:2], -1))


def _attend_by_angle(block: Any, tokens: Tensor) -> Tensor:
    """Attend as SwinV2 does, by cosines over a trained temperature and biases that a network computes."""
    attention = block.attn
    vectors = None
    if attention.q_bias is not None:
        vectors = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    query, key, value = _packed(block, _joined_by_angle(attention.qkv, tokens, vectors)).unbind()
    with torch.autocast(tokens.device.type, enabled=False):  # of up to 16, of which bf16 keeps only tenths
        table = attention.cpb_mlp(attention.relative_coords_table).flatten(0, 2)
    bias = 16 * _bias(attention, table).sigmoid()
    sharpness = attention.logit_scale.clamp(max=MOST_LOGIT_SCALE).exp()
    query = normalize(query, dim=-1) * sharpness.to(query.dtype)
    packed = torch.stack([query, normalize(key, dim=-1), value]).to(value.dtype)
    found = window_attention(packed, _shifted(block, bias), 1.0, exact=True)
    projected: Tensor = attention.proj(found.view(*tokens.shape[:2], -1))
    return projected


def _joined_by_angle(layer: nn.Linear, tokens: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply tokens by a layer's weight, with biases that lie beside it."""
    by_onednn = type(layer) is LinearByOneDNN
    return linear_by(tokens, layer, bias) if by_onednn else linear(tokens, layer.weight, bias)


def _packed(block: Any, joined: Tensor) -> Tensor:
    """Return queries, keys and values [3, windows, heads, N, d] of tokens [B, windows * N, 3 * heads * d]."""
    area = block.window_size[0] * block.window_size[1]
    return joined.reshape(-1, area, 3, block.attn.num_heads, joined.shape[-1] // 3 // block.attn.num_heads).permute(
        2, 0, 3, 1, 4
    )


def _bias(attention: Any, table: Tensor) -> Tensor:
    """Return the bias [1, heads, N, N] between the tokens of a window, of a table [offsets, heads]."""
    index = attention.relative_position_index
    return table.index_select(0, index.flatten()).view(*index.shape, -1).permute(2, 0, 1).unsqueeze(0)


def _shifted(block: Any, bias: Tensor) -> Tensor:
    """Add what keeps apart tokens that were no neighbours before the shift: [windows, heads, N, N] then."""
    return bias if block.attn_mask is None else bias + block.attn_mask.unsqueeze(1)
