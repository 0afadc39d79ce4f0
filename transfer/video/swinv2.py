"""Turning timm's SwinV2 into an encoder of clips: the same weights and names, with an axis of time.

Nothing is published of such a model. It is made as Video Swin is of Swin (arXiv:2106.13230): windows and shifts get an
axis of time, and the patch kernel is repeated over the frames of a patch and divided by their number. What SwinV2
(arXiv:2111.09883) has in place of position tables, a network from log-spaced offsets to biases, gets the offset in time
as a third input whose weights are zero at first. So every difference in time begins with the bias of the image, and
since cosine attention averages values, a clip of one repeated image has the image's features at every time step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.runs.record import Resized
from transfer.video.inflate import TimeSizes, grown_kernel

LARGEST_SCALE = math.log(100)
"""The limit of the learned temperature, as a logarithm. Source: SwinV2's code."""
APART = -100.0
"""What is added for tokens that must not see each other. Source: Swin's code."""


class Attention3d(nn.Module):
    """timm's cosine attention in windows of time, rows and columns; it takes over the parameters of `flat`."""

    offsets: Tensor
    place: Tensor

    def __init__(self, flat: Any, window: Sequence[int]) -> None:
        super().__init__()
        self.num_heads, self.window = flat.num_heads, tuple(window)
        self.logit_scale, self.cpb_mlp, self.proj = flat.logit_scale, flat.cpb_mlp, flat.proj
        self.qkv, self.q_bias, self.v_bias = flat.qkv, flat.q_bias, flat.v_bias
        self.cpb_mlp[0] = _with_time(flat.cpb_mlp[0])
        times = torch.arange(1 - window[0], window[0], dtype=torch.float32) / max(window[0] - 1, 1) * 8
        times = torch.sign(times) * torch.log2(times.abs() + 1) / math.log2(8)  # as timm scales the other two
        plane = flat.relative_coords_table.float()
        rows, columns = plane.shape[1:3]
        grid = (len(times), rows, columns)
        offsets = torch.cat([times.view(-1, 1, 1, 1).expand(*grid, 1), plane.expand(*grid, 2)], dim=-1)
        self.register_buffer("offsets", offsets, persistent=False)
        differences = (torch.arange(window[0])[:, None] - torch.arange(window[0]) + window[0] - 1) * rows * columns
        index = flat.relative_position_index
        place = differences[:, None, :, None] + index[None, :, None, :]  # [T, hw, T, hw]
        self.register_buffer("place", place.reshape(len(index) * window[0], -1), persistent=False)

    def bias(self) -> Tensor:
        """Return what is added to the attention of each pair of tokens in a window: [heads, N, N]."""
        by_offset = self.cpb_mlp(self.offsets).view(-1, self.num_heads)
        found: Tensor = 16 * torch.sigmoid(by_offset[self.place.view(-1)].view(*self.place.shape, -1))
        return found.permute(2, 0, 1)

    def forward(self, tokens: Tensor, apart: Tensor | None) -> Tensor:
        """Attend within windows [B * windows, N, D]; `apart` [windows, N, N] is added to the attention."""
        count, size, width = tokens.shape
        bias = None
        if self.q_bias is not None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv = functional.linear(tokens, self.qkv.weight, bias)
        query, key, value = qkv.reshape(count, size, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        scale = self.logit_scale.clamp(max=LARGEST_SCALE).exp()
        query, key = functional.normalize(query, dim=-1) * scale, functional.normalize(key, dim=-1)
        added = self.bias().unsqueeze(0) if apart is None else self.bias() + apart.unsqueeze(1)
        # The windows of a clip stand beside its heads, so that all clips share what is added.
        fold = (count // len(added), len(added) * self.num_heads, size, -1)
        query, key, value, added = (each.to(value.dtype) for each in (query, key, value, added))
        folded = functional.scaled_dot_product_attention(
            query.reshape(fold), key.reshape(fold), value.reshape(fold), added.reshape(1, *fold[1:]), scale=1.0
        )
        mixed = folded.reshape(count, self.num_heads, size, -1)
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, size, width))
        return result


def _with_time(linear: nn.Linear) -> nn.Linear:
    """Return a layer that takes an offset in time before those in rows and columns, without an effect yet."""
    grown = nn.Linear(3, linear.out_features)
    with torch.no_grad():
        grown.weight.copy_(functional.pad(linear.weight, (1, 0)))
        grown.bias.copy_(linear.bias)
    return grown


class Block3d(nn.Module):
    """timm's block of SwinV2 on maps [B, T, H, W, D]; it takes over the block's modules under their names."""

    def __init__(self, flat: Any, time: int) -> None:
        super().__init__()
        self.window = (time, *flat.window_size)
        self.shift = (time // 2, *flat.shift_size) if any(flat.target_shift_size) else (0, *flat.shift_size)
        self.attn = Attention3d(flat.attn, self.window)
        self.norm1, self.drop_path1 = flat.norm1, flat.drop_path1
        self.norm2, self.drop_path2, self.mlp = flat.norm2, flat.drop_path2, flat.mlp

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path1(self.norm1(self._attend(tokens)))
        result: Tensor = tokens + self.drop_path2(self.norm2(self.mlp(tokens)))
        return result

    def _attend(self, tokens: Tensor) -> Tensor:
        """Attend within shifted windows. Maps are padded first, and time steps of padding are seen by none."""
        sides = tokens.shape[1:4]
        shift = [0 if side <= window else by for side, window, by in zip(sides, self.window, self.shift, strict=True)]
        padding = [-side % window for side, window in zip(sides, self.window, strict=True)]
        padded = functional.pad(tokens, (0, 0, 0, padding[2], 0, padding[1], 0, padding[0]))
        if any(shift):
            padded = torch.roll(padded, [-by for by in shift], (1, 2, 3))
        regions = self._regions(padded.shape[1:4], shift, padding[0], tokens.device)
        apart = None
        if regions is not None:
            alike = _windows(regions[None, ..., None], self.window).squeeze(-1)
            apart = (alike.unsqueeze(1) != alike.unsqueeze(2)) * APART
        found = _whole(self.attn(_windows(padded, self.window), apart), self.window, padded.shape)
        if any(shift):
            found = torch.roll(found, shift, (1, 2, 3))
        return found[:, : sides[0], : sides[1], : sides[2]]

    def _regions(self, sides: Sequence[int], shift: Sequence[int], empty: int, device: torch.device) -> Tensor | None:
        """Return a number for each token [T, H, W]; only those of one number see each other. None: all do."""
        if not any(shift) and not empty:
            return None
        regions = torch.zeros(tuple(sides), device=device)
        for axis, (side, window, by) in enumerate(zip(sides, self.window, shift, strict=True)):
            at = torch.arange(side, device=device)
            part = (at >= side - window).float() + (at >= side - by) if by else torch.zeros(side, device=device)
            if axis == 0 and empty:
                part = part + 9 * (((at + by) % side) >= side - empty)
            shape = [1, 1, 1]
            shape[axis] = side
            regions = regions * 100 + part.view(shape)
        return regions


def _windows(tokens: Tensor, window: Sequence[int]) -> Tensor:
    """Return windows [B * windows, N, D] of maps [B, T, H, W, D]."""
    batch, *sides, width = tokens.shape
    parts = [number for side, size in zip(sides, window, strict=True) for number in (side // size, size)]
    return tokens.reshape(batch, *parts, width).permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, math.prod(window), width)


def _whole(windows: Tensor, window: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return maps of a shape [B, T, H, W, D] from their windows."""
    batch, *sides, width = shape
    counts = [side // size for side, size in zip(sides, window, strict=True)]
    return windows.reshape(batch, *counts, *window, width).permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(*shape)


class SwinV2Clips(nn.Module):
    """A SwinV2 on clips, with the modules and the parameter names of the timm model it is made of."""

    def __init__(self, flat: Any, time: TimeSizes, frames: int) -> None:
        super().__init__()
        self.patch_embed, self.layers, self.norm = flat.patch_embed, flat.layers, flat.norm
        kernel = flat.patch_embed.proj
        patch = (time.patch, *kernel.kernel_size)
        grown = nn.Conv3d(kernel.in_channels, kernel.out_channels, patch, patch)
        with torch.no_grad():
            grown.weight.copy_(grown_kernel(kernel.weight, time.patch))
            grown.bias.copy_(kernel.bias)  # type: ignore[union-attr]  # a convolution with a bias has one
        self.patch_embed.proj = grown
        self.resized = [_resized("patch_embed.proj.weight", kernel.weight, grown.weight, f"over {time.patch} frames")]
        window = min(time.window, frames // time.patch)
        for at, stage in enumerate(self.layers):
            for number, block in enumerate(stage.blocks):
                before = block.attn.cpb_mlp[0].weight
                stage.blocks[number] = Block3d(block, window)
                name = f"layers.{at}.blocks.{number}.attn.cpb_mlp.0.weight"
                after = stage.blocks[number].attn.cpb_mlp[0].weight
                self.resized.append(_resized(name, before, after, "by an offset in time of no effect yet"))

    def forward(self, clips: Tensor) -> Tensor:
        """Return the normalised tokens [B, T', H', W', D] of clips [B, C, T, H, W]."""
        tokens = self.patch_embed.norm(self.patch_embed.proj(clips).permute(0, 2, 3, 4, 1))
        for stage in self.layers:
            merged = stage.downsample(tokens.flatten(0, 1))
            tokens = merged.unflatten(0, tokens.shape[:2])
            for block in stage.blocks:
                tokens = block(tokens)
        found: Tensor = self.norm(tokens)
        return found


def _resized(name: str, before: Tensor, after: Tensor, how: str) -> Resized:
    return Resized(name=name, from_shape=tuple(before.shape), to_shape=tuple(after.shape), mode=f"inflated: {how}")
