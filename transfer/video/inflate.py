"""Turning a 2D Swin into torchvision's Video Swin: the same weights, with an axis of time.

Source: Liu et al. 2021, Video Swin Transformer (arXiv 2106.13230), and its code's `inflate_weights`: the patch kernel
is repeated over the frames of a patch and divided by their number, each relative position table is repeated for every
difference in time, and everything else is copied. A clip of one repeated image then has the image's features at every
time step, where its steps fill whole windows or fit into one. Until it is trained, the model cannot distinguish a clip
from the same one shown backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video.swin_transformer import PatchEmbed3d, SwinTransformer3d

from benchmarks.families.resize import TABLE
from benchmarks.families.table import family_of
from benchmarks.runs.record import Resized
from transfer.checkpoint.layouts.renaming import Rule, to_theirs

KERNEL = "patch_embed.proj.weight"
RULES = (
    Rule("features.{i}.{j}.mlp.0.{rest}", "layers.{i}.blocks.{j}.mlp.fc1.{rest}", times=2),
    Rule("features.{i}.{j}.mlp.3.{rest}", "layers.{i}.blocks.{j}.mlp.fc2.{rest}", times=2),
    Rule("features.{i}.{j}.{rest}", "layers.{i}.blocks.{j}.{rest}", times=2),
    Rule("features.{i}.{rest}", "layers.{i}.downsample.{rest}", times=2, plus=-1),
)
"""torchvision's names and timm's, which merges patches at the start of a stage rather than between two."""


@dataclass(frozen=True)
class TimeSizes:
    """How many frames a patch covers, and how many time steps (of one patch each) a window covers."""

    patch: int
    window: int


@dataclass(frozen=True)
class Inflated:
    """Weights under torchvision's names, and what was done to those that have another shape."""

    weights: dict[str, Tensor]
    resized: tuple[Resized, ...]


def build_swin3d(flat: Any, time: TimeSizes, drop_path_rate: float = 0.0) -> SwinTransformer3d:
    """Return a Video Swin of the sizes of `flat`, timm's Swin, with random weights and without a head.

    Each stage has the window that `flat` has there: where a map is smaller than the reference window, timm's tables are
    smaller too, and torchvision's own clipping would look up other entries of a full one.
    """
    blocks: list[Any] = [stage.blocks[0] for stage in flat.layers]
    windows = [[time.window, *window] for window in family_of(flat).windows]
    norm = partial(nn.LayerNorm, eps=flat.norm.eps)
    model = SwinTransformer3d(
        patch_size=[time.patch, *flat.patch_embed.patch_size],
        embed_dim=flat.embed_dim,
        depths=[len(stage.blocks) for stage in flat.layers],
        num_heads=[block.attn.num_heads for block in blocks],
        window_size=windows[0],
        mlp_ratio=blocks[0].mlp.fc1.out_features / blocks[0].attn.dim,
        stochastic_depth_prob=drop_path_rate,
        norm_layer=norm,
        block=_with_windows({block.attn.dim: window for block, window in zip(blocks, windows, strict=True)}),
        patch_embed=partial(PatchEmbed3d, in_channels=flat.patch_embed.proj.in_channels),
    )
    model.head = nn.Identity()
    return model


def _with_windows(by_width: Mapping[int, list[int]]) -> Callable[..., nn.Module]:
    """Return a constructor of torchvision's block whose window depends on the stage, which its width identifies."""

    def block(dim: int, heads: int, *, window_size: list[int], shift_size: list[int], **options: Any) -> nn.Module:
        del window_size  # the first stage's
        window = by_width[dim]
        shift = [side // 2 if any(shift_size) else 0 for side in window]
        made: nn.Module = SwinTransformerBlock(dim, heads, window_size=window, shift_size=shift, **options)
        return made

    return block


def inflate(weights: Mapping[str, Tensor], time: TimeSizes) -> Inflated:
    """Return a 2D Swin's weights, given under timm's names, with an axis of time and under torchvision's names."""
    renamed = to_theirs(dict(weights), RULES)
    resized = []
    for name, tensor in renamed.items():
        if name == KERNEL:
            grown, mode = grown_kernel(tensor, time.patch), f"inflated: repeated over {time.patch} frames and divided"
        elif name.endswith(TABLE):
            differences = 2 * time.window - 1
            grown, mode = tensor.repeat(differences, 1), f"inflated: repeated for {differences} differences in time"
        else:
            continue
        renamed[name] = grown
        resized.append(Resized(name=name, from_shape=tuple(tensor.shape), to_shape=tuple(grown.shape), mode=mode))
    return Inflated(renamed, tuple(resized))


def grown_kernel(kernel: Tensor, frames: int) -> Tensor:
    """Return a kernel [D, C, frames, p, p] that gives a patch of equal frames what [D, C, p, p] gives the image."""
    return kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames


def timm_name(name: str) -> str:
    """Return timm's name of a Video Swin's tensor."""
    return next((ours for rule in RULES if (ours := rule.our_name(name)) is not None), name)
