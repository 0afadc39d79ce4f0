"""Attention within windows as one step, with a bias that all images share and that is trained.

torch's own fused attention has no gradient for the bias on a CPU, and needs it once for every window of every image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def window_attention(queries_keys_values: Tensor, bias: Tensor, scale: float, *, exact: bool = False) -> Tensor:
    """Return attention's output [W, N, heads * d] within windows [3, W, heads, N, d] of queries, keys and values.

    `bias` [n, heads, N, N] is added to the attention of each n windows in a row, W being a multiple of n; n is 1 where
    all windows have the same. `exact` adds it in the bias's own precision, as one of large numbers needs.
    """
    result: Tensor = _WindowAttention.apply(queries_keys_values, bias, scale, exact)
    return result


class _WindowAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor, bias: Tensor, scale: float, exact: bool) -> Tensor:
        with torch.autocast(packed.device.type, enabled=False):
            _, windows, heads, count, width = packed.shape
            query, key, value = packed.flatten(1, 2).unbind()
            precision = bias.dtype if exact else packed.dtype
            scores = packed.new_empty(windows // len(bias), *bias.shape, dtype=precision).copy_(bias).flatten(0, 2)
            if precision == packed.dtype:
                scores.baddbmm_(query, key.transpose(1, 2), alpha=scale)
            else:
                scores.add_(query.bmm(key.transpose(1, 2)), alpha=scale)
            weights = torch.softmax(scores, dim=-1, out=scores).to(packed.dtype)
            found = weights.bmm(value).view(windows, heads, count, width)
        ctx.save_for_backward(packed, weights)
        ctx.bias_shape, ctx.bias_dtype, ctx.scale = bias.shape, bias.dtype, scale
        return found.transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        packed, weights = ctx.saved_tensors
        _, windows, heads, count, width = packed.shape
        query, key, value = packed.flatten(1, 2).unbind()
        of_found = gradients[0].view(windows, count, heads, width).transpose(1, 2).reshape(-1, count, width)
        result = torch.empty_like(packed)
        of_query, of_key, of_value = result.flatten(1, 2).unbind()
        torch.bmm(weights.transpose(1, 2), of_found, out=of_value)
        of_weights = of_found.bmm(value.transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_bias = of_scores.view(-1, *ctx.bias_shape).sum(dim=0, dtype=ctx.bias_dtype)
        torch.bmm(of_scores, key, out=of_query).mul_(ctx.scale)
        torch.bmm(of_scores.transpose(1, 2), query, out=of_key).mul_(ctx.scale)
        return result, of_bias, None, None
