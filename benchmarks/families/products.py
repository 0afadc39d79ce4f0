"""Linear layers whose products oneDNN computes, forwards and backwards, where what torch takes by itself is slower.

torch multiplies matrices of fp32 by MKL, which is Intel's. On an AMD EPYC with AVX-512 one thread does 80 to 95
GFLOP/s by it, and 145 to 210 by oneDNN, which torch brings along and takes for bf16. Sums are in another order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

ONEDNN: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""oneDNN's linear layer, which torch's compiler uses as well; None where torch was built without it."""
CPUS = Path("/proc/cpuinfo")
"""What Linux says of this machine's processors."""


class LinearByOneDNN(nn.Linear):
    """A linear layer that asks oneDNN for its products in fp32 on a CPU; elsewhere it is torch's own."""

    def forward(self, tokens: Tensor) -> Tensor:
        rows = linear_of(tokens.reshape(-1, self.in_features), self)
        return rows.view(*tokens.shape[:-1], self.out_features)  # here, so that what follows may change it in place


def faster_by_onednn() -> bool:
    """Tell whether oneDNN multiplies faster in fp32 than torch by itself: with AVX-512 that is AMD's, beside MKL.

    What is asked is the make of the processor, not the time, so that a machine gives the same answer, and the same
    bits, whatever else it does.
    """
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if ONEDNN is None or not has_mkl or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        return "AuthenticAMD" in CPUS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return False


def multiply_by_onednn(model: nn.Module) -> None:
    """Let oneDNN compute the products of a model's linear layers."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = LinearByOneDNN


def is_plain(layer: nn.Module) -> bool:
    """Tell whether a layer is a product and a bias, and nothing else."""
    return type(layer) in (nn.Linear, LinearByOneDNN)


def linear_of(tokens: Tensor, layer: nn.Linear) -> Tensor:
    """Return the linear layer's output [..., K] of tokens [..., D], in the precision of the tokens."""
    return linear_by(tokens, layer, layer.bias)


def linear_by(tokens: Tensor, layer: nn.Linear, bias: Tensor | None) -> Tensor:
    """Return what `linear_of` does, with another bias [K] in the place of the layer's own."""
    result: Tensor = _LinearOf.apply(tokens, layer.weight, bias, type(layer) is LinearByOneDNN)
    return result


class _LinearOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor | None, onednn: bool) -> Tensor:
        ctx.save_for_backward(tokens, weight, bias)
        ctx.onednn = onednn
        with torch.autocast(tokens.device.type, enabled=False):
            return output_of(tokens, weight, bias, onednn)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight, bias = ctx.saved_tensors
        of_weight, of_bias = of_layer(gradients[0], tokens, weight, bias, ctx.onednn)
        return of_input(gradients[0], weight, ctx.onednn), of_weight, of_bias, None


def output_of(tokens: Tensor, weight: Tensor, bias: Tensor | None, onednn: bool) -> Tensor:
    """Return a linear layer's output; `onednn` asks oneDNN for it in fp32.

    In bf16 on a CPU, torch's `linear` writes the bias to each row before it multiplies, which takes as long as the
    product. oneDNN, which computes the product in either case, adds the bias to its sums, before it rounds them.
    """
    weight, bias = weight.to(tokens.dtype), None if bias is None else bias.to(tokens.dtype)
    adds_bias = bias is not None and tokens.dtype == torch.bfloat16 and tokens.device.type == "cpu"
    if ONEDNN is None or not (adds_bias or _fits(tokens, onednn)):
        return linear(tokens, weight, bias)
    result: Tensor = ONEDNN(tokens, weight, bias, "none", [], "")
    return result


def of_layer(
    gradient: Tensor, taken: Tensor, weight: Tensor, bias: Tensor | None, onednn: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of weight and bias, given that of the layer's output and what the layer took."""
    flat, rows = gradient.flatten(0, -2), taken.flatten(0, -2)
    if not _fits(flat, onednn):
        of_weight = flat.t().mm(rows)
    elif flat.shape[1] <= rows.shape[1]:
        of_weight = product_by_onednn(flat.t(), rows)
    else:  # oneDNN is faster with fewer rows: 145 against 78 GFLOP/s for 384 x 96
        of_weight = product_by_onednn(rows.t(), flat).t()
    return of_weight.to(weight.dtype), None if bias is None else flat.sum(dim=0).to(bias.dtype)


def of_input(gradient: Tensor, weight: Tensor, onednn: bool) -> Tensor:
    """Return the gradient of what a layer took [..., D], given that of its output [..., K]."""
    flat, weight = gradient.flatten(0, -2), weight.to(gradient.dtype)
    found = product_by_onednn(flat, weight) if _fits(flat, onednn) else flat.mm(weight)
    return found.view(*gradient.shape[:-1], -1)


def product_by_onednn(left: Tensor, right: Tensor) -> Tensor:
    """Return the product of two matrices on a CPU."""
    result: Tensor = ONEDNN(left, right.t(), None, "none", [], "")
    return result


def _fits(tokens: Tensor, onednn: bool) -> bool:
    return onednn and ONEDNN is not None and tokens.dtype == torch.float32 and tokens.device.type == "cpu"
