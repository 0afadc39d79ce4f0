"""A Swin run backwards, from a coarse map to pixels.

SimMIM (arXiv:2111.09886, table 2) names inverse Swin-T and Swin-B and gives their sizes, but not their structure. Here
stages are joined by the patch expanding of Swin-Unet (arXiv:2105.05537), which gives the paper's parameter counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from timm.models.swin_transformer import SwinTransformerStage
from torch import Tensor, nn


@dataclass(frozen=True)
class InverseSwinLayout:
    """The stages of a Swin, first to last as in an encoder."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def upscale(self) -> int:
        """The factor by which the first stage's map is finer than the last one's."""
        return 1 << len(self.widths) - 1


LAYOUTS = {
    "tiny": InverseSwinLayout((96, 192, 384, 768), (2, 2, 6, 2), (3, 6, 12, 24)),
    "base": InverseSwinLayout((128, 256, 512, 1024), (2, 2, 18, 2), (4, 8, 16, 32)),
}


class PatchExpanding(nn.Module):
    """Map tokens [B, H, W, D] to [B, scale * H, scale * W, out_width]: a linear layer, rearrangement, a norm."""

    def __init__(self, width: int, out_width: int, scale: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, out_width * scale**2)
        self.to_pixels = nn.PixelShuffle(scale)
        self.norm = nn.LayerNorm(out_width)

    def forward(self, tokens: Tensor) -> Tensor:
        finer = self.to_pixels(self.expand(tokens).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        normed: Tensor = self.norm(finer)
        return normed


class InverseSwin(nn.Module):
    """Map features [B, D, grid, grid] to predictions [B, K, r, r] with r = grid * layout.upscale * last_scale.

    The window is the whole grid in the coarsest stage, and has the same size in all others.
    """

    def __init__(self, features: int, grid: int, layout: InverseSwinLayout, last_scale: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, layout.widths[-1])
        stages: list[nn.Module] = []
        for level in reversed(range(len(layout.widths))):
            width, side = layout.widths[level], grid * layout.upscale // 2**level
            depth, heads = layout.depths[level], layout.heads[level]
            stages.append(SwinTransformerStage(width, width, (side, side), depth, False, heads, window_size=grid))
            if level:
                stages.append(PatchExpanding(width, layout.widths[level - 1], scale=2))
        stages.append(PatchExpanding(layout.widths[0], layout.widths[0], last_scale))
        self.stages = nn.Sequential(*stages)
        self.project = nn.Linear(layout.widths[0], outputs)
        self.apply(_init)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.stages(self.embed(features.permute(0, 2, 3, 1)))
        predictions: Tensor = self.project(tokens).permute(0, 3, 1, 2)
        return predictions


def _init(module: nn.Module) -> None:
    """Draw weights as Swin's encoders do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
