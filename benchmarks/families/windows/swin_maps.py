"""Feature maps of Swin and SwinV2 for images of any size: pad, then roll, as detection and segmentation code does.

timm rolls before it pads, so that opposite borders attend to each other where a map is no multiple of the window
(huggingface/pytorch-image-models issue 2438). Here the model's own layers run in the right order; the model itself,
and with it classification, is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.models.swin_transformer import window_partition, window_reverse
from torch import Tensor
from torch.nn.functional import pad

from benchmarks.families.blocks import Step, run_as
from benchmarks.families.windows.position_tables import Size

MASKED = -100.0
"""Added to the attention between tokens that were not neighbours before the roll; the value Swin was trained with."""


def swin_maps(model: Any, images: Tensor, shift_single: bool, run_block: Step) -> list[Tensor]:
    """Return one map [B, D, ceil(H/s), ceil(W/s)] per stage, before any output norm.

    Each stage has the window of its own tables. `shift_single` keeps the shift along sides that one window covers;
    `run_block` is `norms_before` for Swin, `norms_after` for SwinV2.
    """
    tokens = embed_patches(model.patch_embed, images)
    maps = []
    for stage in model.layers:
        tokens = stage.downsample(tokens)
        plain, shifted = _cuts(stage.blocks[0], tokens, shift_single)
        mask = shifted.mask(tokens)
        for block in stage.blocks:
            cut, its_mask = (shifted, mask) if any(block.target_shift_size) else (plain, None)
            tokens = run_as(block, run_block, tokens, cut, its_mask)
        maps.append(tokens.permute(0, 3, 1, 2).contiguous())
    return maps


def embed_patches(embed: Any, images: Tensor) -> Tensor:
    """Embed images [B, C, H, W], padded with zeros to whole patches, to tokens [B, ceil(H/p), ceil(W/p), D]."""
    below, right = (-side % step for side, step in zip(images.shape[2:], embed.patch_size, strict=True))
    tokens: Tensor = embed.norm(embed.proj(pad(images, (0, right, 0, below))).permute(0, 2, 3, 1))
    return tokens


@dataclass(frozen=True)
class Cut:
    """How a map is cut into windows: padded at the bottom and the right to whole windows, rolled by `shift`, cut."""

    size: Size
    window: Size
    shift: Size

    @property
    def padded(self) -> Size:
        """The map's size, padded to whole windows."""
        (height, width), (rows, columns) = self.size, self.window
        return height + -height % rows, width + -width % columns

    def split(self, tokens: Tensor) -> Tensor:
        """Cut [B, H, W, D] into windows [B * windows, tokens of a window, D]."""
        (height, width), (rows, columns) = self.size, self.padded
        padded = pad(tokens, (0, 0, 0, columns - width, 0, rows - height))
        rolled = padded.roll((-self.shift[0], -self.shift[1]), dims=(1, 2)) if any(self.shift) else padded
        windows: Tensor = window_partition(rolled, self.window)
        return windows.flatten(1, 2)

    def join(self, windows: Tensor) -> Tensor:
        """Undo `split`; what was padded is cut off."""
        joined: Tensor = window_reverse(windows.reshape(-1, *self.window, windows.shape[2]), self.window, *self.padded)
        rolled = joined.roll(self.shift, dims=(1, 2)) if any(self.shift) else joined
        return rolled[:, : self.size[0], : self.size[1]].contiguous()

    def mask(self, like: Tensor) -> Tensor | None:
        """Return what is added to attention [windows, N, N]: after a roll, a window holds tokens of several regions."""
        if not any(self.shift):
            return None
        rows, columns = (
            torch.arange(side, device=like.device) >= side - shift
            for side, shift in zip(self.padded, self.shift, strict=True)
        )
        regions = rows[:, None] * 2 + columns[None, :].long()
        windows: Tensor = window_partition(regions[None, :, :, None], self.window).flatten(1)
        apart = windows[:, :, None] != windows[:, None, :]
        return torch.zeros_like(apart, dtype=like.dtype).masked_fill(apart, MASKED)


def _cuts(block: Any, tokens: Tensor, shift_single: bool) -> tuple[Cut, Cut]:
    """Return how a stage's blocks cut its map: the plain ones, and the shifted ones."""
    size, window = (tokens.shape[1], tokens.shape[2]), block.attn.window_size
    plain = Cut(size, window, (0, 0))
    shift = tuple(
        step // 2 if side > step or shift_single else 0 for side, step in zip(plain.padded, window, strict=True)
    )
    return plain, Cut(size, window, (shift[0], shift[1]))


def norms_before(block: Any, tokens: Tensor, cut: Cut, mask: Tensor | None) -> Tensor:
    """Run one block of Swin on [B, H, W, D], which normalises before attention and MLP."""
    tokens = tokens + block.drop_path1(_attend(block, block.norm1(tokens), cut, mask))
    result: Tensor = tokens + block.drop_path2(block.mlp(block.norm2(tokens)))
    return result


def norms_after(block: Any, tokens: Tensor, cut: Cut, mask: Tensor | None) -> Tensor:
    """Run one block of SwinV2 on [B, H, W, D], which normalises after attention and MLP."""
    tokens = tokens + block.drop_path1(block.norm1(_attend(block, tokens, cut, mask)))
    result: Tensor = tokens + block.drop_path2(block.norm2(block.mlp(tokens)))
    return result


def _attend(block: Any, tokens: Tensor, cut: Cut, mask: Tensor | None) -> Tensor:
    return cut.join(block.attn(cut.split(tokens), mask=mask))
