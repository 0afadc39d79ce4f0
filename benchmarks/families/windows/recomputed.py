"""Linear layers after a norm or GELU, whose backward pass computes again what it can instead of keeping it.

A norm's and GELU's outputs cost little time and much memory: in a block of Swin they are 6 of the 17 values that the
backward pass keeps of each channel of a token. Only what they are made of is kept, which is kept anyway or has no
other use. Weights are cast to the tokens' precision again as well. The gradients are autograd's to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from benchmarks.families.products import LinearByOneDNN, of_input, of_layer, output_of


def linear_of_norm(tokens: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> Tensor:
    """Return the linear layer's output [..., K] of normalised tokens [..., D], all in the precision of the tokens."""
    onednn = type(layer) is LinearByOneDNN
    result: Tensor = _LinearOfNorm.apply(tokens, norm.weight, norm.bias, norm.eps, layer.weight, layer.bias, onednn)
    return result


def linear_of_gelu(tokens: Tensor, layer: nn.Linear) -> Tensor:
    """Return the linear layer's output [..., K] of GELU's [..., D], all in the precision of the tokens."""
    result: Tensor = _LinearOfGelu.apply(tokens, layer.weight, layer.bias, type(layer) is LinearByOneDNN)
    return result


class _LinearOfNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        scale: Tensor,
        shift: Tensor,
        eps: float,
        weight: Tensor,
        bias: Tensor | None,
        onednn: bool,
    ) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            normed, mean, inverse = _normed(tokens, scale, shift, eps)
            ctx.save_for_backward(tokens, mean, inverse, scale, shift, weight, bias)
            ctx.eps, ctx.onednn = eps, onednn
            return output_of(normed, weight, bias, onednn)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, mean, inverse, scale, shift, weight, bias = ctx.saved_tensors
        normed = _normed(tokens, scale, shift, ctx.eps)[0]
        of_weight, of_bias = of_layer(gradients[0], normed, weight, bias, ctx.onednn)
        del normed
        of_normed = of_input(gradients[0], weight, ctx.onednn)
        of_tokens, of_scale, of_shift = torch.ops.aten.native_layer_norm_backward(
            of_normed,
            tokens,
            tokens.shape[-1:],
            mean,
            inverse,
            scale.to(tokens.dtype),
            shift.to(tokens.dtype),
            (True, True, True),
        )
        return of_tokens, of_scale.to(scale.dtype), of_shift.to(shift.dtype), None, of_weight, of_bias, None


class _LinearOfGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor | None, onednn: bool) -> Tensor:
        ctx.save_for_backward(tokens, weight, bias)
        ctx.onednn = onednn
        with torch.autocast(tokens.device.type, enabled=False):
            return output_of(gelu(tokens), weight, bias, onednn)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight, bias = ctx.saved_tensors
        of_weight, of_bias = of_layer(gradients[0], gelu(tokens), weight, bias, ctx.onednn)
        found = of_input(gradients[0], weight, ctx.onednn)
        torch.ops.aten.gelu_backward.grad_input(found, tokens, grad_input=found)  # in place: each value by itself
        return found, of_weight, of_bias, None


def _normed(tokens: Tensor, scale: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised tokens, and the mean and the inverse deviation of each."""
    shape = tokens.shape[-1:]
    return torch.native_layer_norm(tokens, shape, scale.to(tokens.dtype), shift.to(tokens.dtype), eps)
