"""What a shift tears apart has no weight, and so no gradient: the bits are those of timm's -100, without its 1e-44."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from benchmarks.families.products import linear_of
from benchmarks.families.windows import swin_step
from benchmarks.families.windows.attention import window_attention
from benchmarks.families.windows.recomputed import linear_of_norm

SIDE, WIDTH = 16, 16


def shifted_block() -> Any:
    """A block of Swin with shifted windows of 4 x 4 tokens, with random weights."""
    torch.manual_seed(0)
    name, sizes = "swin_tiny_patch4_window7_224", {"embed_dim": WIDTH, "depths": (2, 2), "num_heads": (2, 4)}
    model = timm.create_model(name, img_size=4 * SIDE, window_size=4, **sizes)
    block: Any = model.layers[0].blocks[1]
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return block


def by_hundred(block: Any, tokens: Tensor) -> Tensor:
    """Attention as timm states it, with its mask added to the bias."""
    attention = block.attn
    packed = swin_step._packed(block, linear_of_norm(tokens, block.norm1, attention.qkv)).contiguous()
    bias = swin_step._bias(attention, attention.relative_position_bias_table) + block.attn_mask.unsqueeze(1)
    return linear_of(window_attention(packed, bias, attention.scale).view_as(tokens), attention.proj)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradients_have_the_bits_of_timms_mask(dtype: torch.dtype) -> None:
    found: list[list[Tensor]] = []
    for attend in (swin_step._attend, by_hundred):
        block = shifted_block()
        tokens = torch.randn(2, SIDE * SIDE, WIDTH, dtype=dtype).requires_grad_()
        half = torch.autocast("cpu", dtype) if dtype is torch.bfloat16 else contextlib.nullcontext()
        with half:
            output = attend(block, tokens)
        torch.autograd.backward((output * torch.randn(output.shape).to(dtype)).sum())
        gradients = {name: each.grad for name, each in block.named_parameters() if each.grad is not None}
        assert {"attn.qkv.weight", "attn.relative_position_bias_table", "attn.proj.bias"} <= gradients.keys()
        assert tokens.grad is not None
        found.append([output.detach(), tokens.grad, *gradients.values()])
    for one, other in zip(*found, strict=True):
        assert other.abs().max() > 0
        assert torch.equal(one, other)


def test_no_weight_of_attention_is_too_small_for_a_normal_number() -> None:
    """A CPU multiplies such numbers many times as slowly as others; timm's mask makes many of them."""
    smallest = torch.finfo(torch.float32).tiny
    for attend, expected in ((swin_step._attend, False), (by_hundred, True)):
        kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None):
            attend(shifted_block(), torch.randn(1, SIDE * SIDE, WIDTH))
        weights = next(each for each in kept if each.ndim == 3 and each.shape[1:] == (16, 16) and each.amin() >= 0)
        assert ((weights > 0) & (weights < smallest)).any() == expected
