"""The attention of a timm model's last block, recomputed in NumPy from what the block is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def softmax_of(model: Any, images: torch.Tensor) -> np.ndarray:
    """Return softmax(q k) [B, heads, N, N] of the last block, recomputed from the input of its attention."""
    caught: list[tuple[Any, Any]] = []
    attention = model.blocks[-1].attn
    hook = attention.register_forward_pre_hook(lambda _m, given, named: caught.append((given, named)), with_kwargs=True)
    with torch.no_grad():
        model.forward_features(images)
        hook.remove()
        inputs, named = caught[0]
        array: Callable[[torch.Tensor], np.ndarray] = lambda tensor: tensor.double().numpy()  # noqa: E731
        weight = array(attention.qkv.weight)
        bias = 0.0 if attention.qkv.bias is None else array(attention.qkv.bias)
        if getattr(attention, "q_bias", None) is not None:
            bias = np.concatenate([array(attention.q_bias), np.zeros(len(attention.q_bias)), array(attention.v_bias)])
        tokens = array(inputs[0])
        joined = tokens @ weight.T + bias
        batch, count = tokens.shape[:2]
        query, key, _ = joined.reshape(batch, count, 3, attention.num_heads, -1).transpose(2, 0, 3, 1, 4)
        if hasattr(attention, "q_norm"):
            query, key = _normed(attention.q_norm, query), _normed(attention.k_norm, key)
        if (rope := named.get("rope")) is not None:
            prefix = count - rope.shape[-2]
            query, key = (_rotated(each, array(rope), prefix) for each in (query, key))
        logits = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
        if getattr(attention, "relative_position_bias_table", None) is not None:
            table = array(attention.relative_position_bias_table)
            logits = logits + table[attention.relative_position_index.numpy()].transpose(2, 0, 1)
        if (shared := named.get("shared_rel_pos_bias")) is not None:
            logits = logits + array(shared)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return found


def _normed(norm: Any, values: np.ndarray) -> np.ndarray:
    """Return values after a LayerNorm over the last axis, or unchanged."""
    if not hasattr(norm, "eps"):
        return values
    centred = values - values.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(values.var(axis=-1, keepdims=True) + norm.eps)
    found: np.ndarray = scaled * norm.weight.double().numpy() + norm.bias.double().numpy()
    return found


def _rotated(values: np.ndarray, rope: np.ndarray, prefix: int) -> np.ndarray:
    """Return values whose neighbouring pairs are turned by the angles of a table [N, 2 * D] of sines, then cosines."""
    sine, cosine = np.split(rope, 2, axis=-1)
    patches = values[..., prefix:, :]
    even, odd = patches[..., 0::2], patches[..., 1::2]
    turned = np.empty_like(patches)
    turned[..., 0::2] = even * cosine[..., 0::2] - odd * sine[..., 0::2]
    turned[..., 1::2] = odd * cosine[..., 1::2] + even * sine[..., 1::2]
    return np.concatenate([values[..., :prefix, :], turned], axis=-2)
