"""What a backward pass computes again is what autograd keeps, to the bit: a run of an earlier version goes on alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from benchmarks.families.products import linear_of
from benchmarks.families.windows.recomputed import linear_of_gelu, linear_of_norm
from benchmarks.families.windows.swin_step import _normed

ROWS, WIDTH, WIDER = 37, 24, 40
Run = Callable[[Tensor, nn.LayerNorm, nn.Linear], Tensor]
FORMS: dict[str, tuple[Run, Run]] = {
    "norm": (lambda x, norm, layer: layer(_normed(norm, x)), linear_of_norm),
    "gelu": (lambda x, _, layer: layer(gelu(x)), lambda x, _, layer: linear_of_gelu(x, layer)),
    "alone": (lambda x, _, layer: layer(x), lambda x, _, layer: linear_of(x, layer)),
}
"""By name, autograd's form and the one that keeps its input alone."""


def run_of(form: Run, dtype: torch.dtype, bias: bool, kept: list[Tensor]) -> list[Tensor | None]:
    """Output and gradients of one form; `kept` takes what is kept for the backward pass."""
    torch.manual_seed(0)
    weights = torch.float64 if dtype is torch.float64 else torch.float32
    norm, layer = nn.LayerNorm(WIDTH, dtype=weights), nn.Linear(WIDTH, WIDER, bias=bias, dtype=weights)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    tokens = torch.randn(2, ROWS, WIDTH).to(dtype).requires_grad_()
    half = torch.autocast("cpu", dtype) if dtype is torch.bfloat16 else contextlib.nullcontext()
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: (kept.append(x), x)[1], lambda x: x)
    with half, hooks:
        found = form(tokens, norm, layer)
    (found * torch.randn(found.shape).to(found.dtype)).sum().backward()
    return [found.detach(), tokens.grad, *(each.grad for each in (*norm.parameters(), *layer.parameters()))]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_output_and_gradients_are_autograds_to_the_bit(name: str, bias: bool, dtype: torch.dtype) -> None:
    plain, again = (run_of(form, dtype, bias, []) for form in FORMS[name])
    assert any(each is not None and each.abs().max() > 0 for each in plain[2:])
    for one, other in zip(plain, again, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["norm", "gelu"])
def test_of_tokens_only_what_comes_in_is_kept(name: str) -> None:
    """Autograd keeps what the linear layer takes as well, which is as large."""
    counts = []
    for form in FORMS[name]:
        kept: list[Tensor] = []
        run_of(form, torch.float32, True, kept)
        counts.append(len({each.data_ptr() for each in kept if each.numel() == 2 * ROWS * WIDTH}))
    assert counts == [2, 1]
