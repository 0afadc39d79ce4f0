"""Linear layers, alone or after a norm or GELU, whose backward pass computes again what it can instead of keeping it.

A norm's and GELU's outputs cost little time and much memory: in a block of Swin they are 6 of the 17 values that the
backward pass keeps of each channel of a token. Only what they are made of is kept, which is kept anyway or has no
other use. Weights are cast to the tokens' precision again as well. The gradients are autograd's to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

ADDS_BIAS: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""oneDNN's linear layer, which torch's compiler uses as well; None where torch was built without it."""


def linear_of_norm(tokens: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> Tensor:
    """Return the linear layer's output [..., K] of normalised tokens [..., D], all in the precision of the tokens."""
    result: Tensor = _LinearOfNorm.apply(tokens, norm.weight, norm.bias, norm.eps, layer.weight, layer.bias)
    return result


def linear_of_gelu(tokens: Tensor, layer: nn.Linear) -> Tensor:
    """Return the linear layer's output [..., K] of GELU's [..., D], all in the precision of the tokens."""
    result: Tensor = _LinearOfGelu.apply(tokens, layer.weight, layer.bias)
    return result


def linear_of(tokens: Tensor, layer: nn.Linear) -> Tensor:
    """Return the linear layer's output [..., K] of tokens [..., D], in the precision of the tokens."""
    result: Tensor = _LinearOf.apply(tokens, layer.weight, layer.bias)
    return result


class _LinearOfNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, scale: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        with torch.autocast(tokens.device.type, enabled=False):
            normed, mean, inverse = _normed(tokens, scale, shift, eps)
            ctx.save_for_backward(tokens, mean, inverse, scale, shift, weight, bias)
            ctx.eps = eps
            return _linear(normed, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, mean, inverse, scale, shift, weight, bias = ctx.saved_tensors
        of_weight, of_bias = _of_layer(gradients[0], _normed(tokens, scale, shift, ctx.eps)[0], weight, bias)
        of_normed = _of_input(gradients[0], weight)
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
        return of_tokens, of_scale.to(scale.dtype), of_shift.to(shift.dtype), None, of_weight, of_bias


class _LinearOfGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(tokens, weight, bias)
        with torch.autocast(tokens.device.type, enabled=False):
            return _linear(gelu(tokens), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight, bias = ctx.saved_tensors
        of_weight, of_bias = _of_layer(gradients[0], gelu(tokens), weight, bias)
        found = _of_input(gradients[0], weight)
        torch.ops.aten.gelu_backward.grad_input(found, tokens, grad_input=found)  # in place: each value by itself
        return found, of_weight, of_bias


class _LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(tokens, weight, bias)
        with torch.autocast(tokens.device.type, enabled=False):
            return _linear(tokens, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight, bias = ctx.saved_tensors
        return _of_input(gradients[0], weight), *_of_layer(gradients[0], tokens, weight, bias)


def _normed(tokens: Tensor, scale: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised tokens, and the mean and the inverse deviation of each."""
    shape = tokens.shape[-1:]
    return torch.native_layer_norm(tokens, shape, scale.to(tokens.dtype), shift.to(tokens.dtype), eps)


def _linear(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a linear layer's output.

    In bf16 on a CPU, torch's `linear` writes the bias to each row before it multiplies, which takes as long as the
    product. oneDNN, which computes the product in either case, adds the bias to its sums, before it rounds them.
    """
    weight, bias = weight.to(tokens.dtype), None if bias is None else bias.to(tokens.dtype)
    if ADDS_BIAS is None or bias is None or tokens.dtype != torch.bfloat16 or tokens.device.type != "cpu":
        return linear(tokens, weight, bias)
    result: Tensor = ADDS_BIAS(tokens, weight, bias, "none", [], "")
    return result


def _of_layer(gradient: Tensor, taken: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of weight and bias, given that of the layer's output and what the layer took."""
    flat = gradient.flatten(0, -2)
    of_weight = flat.t().mm(taken.flatten(0, -2)).to(weight.dtype)
    return of_weight, None if bias is None else flat.sum(dim=0).to(bias.dtype)


def _of_input(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of what a layer took [..., D], given that of its output [..., K]."""
    return gradient.flatten(0, -2).mm(weight.to(gradient.dtype)).view(*gradient.shape[:-1], -1)
