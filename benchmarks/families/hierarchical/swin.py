"""Swin and SwinV2."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, ClassVar

import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.swin_transformer_v2_cr import SwinTransformerV2Cr
from torch import Tensor, nn

from benchmarks.encoders import plain_window, windows_as_json
from benchmarks.errors import UserError
from benchmarks.families.family import Family
from benchmarks.families.parts import MAPS, Layers
from benchmarks.families.sizes import MapSizes
from benchmarks.families.windows.position_tables import Size, TableMode
from benchmarks.families.windows.stages import window_argument
from benchmarks.families.windows.swin_maps import norms_after, norms_before, swin_maps
from benchmarks.families.windows.swin_step import features_in_window_order, runs_in_window_order


class Swin(Family):
    """Swin of the first version: attention in windows, with a table of relative positions in each block."""

    name = "Swin"
    attends_within_shifts = True
    kind = SwinTransformer
    registered_in = ("swin_transformer",)
    takes_window = True
    sizes_known = True
    mean_is_own = True
    after_maps = ("norm.",)
    video_form: ClassVar[str | None] = "swin3d"
    run_block: ClassVar[Callable[..., Tensor]] = staticmethod(norms_before)
    """Runs one block on a map of any size."""

    @property
    def windows(self) -> tuple[Size, ...]:
        sizes = [stage.blocks[0].window_size for stage in self.model.layers]
        return tuple((int(rows), int(columns)) for rows, columns in sizes)

    def check_windows(self) -> None:
        """Refuse maps that are no multiple of the window: timm then rolls before it pads, and borders attend wrongly.

        Source: huggingface/pytorch-image-models issue 2438.
        """
        for name, block in self.model.named_modules():
            window, resolution = getattr(block, "window_size", None), getattr(block, "input_resolution", None)
            if not (isinstance(window, tuple) and isinstance(resolution, tuple)):
                continue
            if any(side % step for side, step in zip(resolution, window, strict=True)):
                rule = f"a size whose feature maps are multiples of the window ({name}: {resolution}, window {window})"
                near = self._fitting_px()
                sizes = (
                    f"image_size_px={' or '.join(map(str, near))} (the nearest that fit)" if near else "another size"
                )
                remedy = f"{sizes}, or another window_size"
                raise UserError.about("image_size_px", plain_window(self.model.patch_embed.img_size), rule, remedy)

    def _fitting_px(self) -> list[int]:
        """Return the sides next below and above the model's at which every map is a multiple of its window.

        timm makes a window that is larger than its map as large as the map.
        """
        side, patch = max(self.model.patch_embed.img_size), max(self.model.patch_embed.patch_size)
        largest = max(max(window) for window in self.windows)
        step = patch * 2 ** (len(self.windows) - 1)

        def fits(px: int) -> bool:
            maps = [px // patch // 2**stage for stage in range(len(self.windows))]
            return all(each % min(each, largest) == 0 for each in maps)

        below = next((px for px in range(side // step * step, 0, -step) if px < side and fits(px)), None)
        above = next((px for px in range(step, 4 * (side + step * largest), step) if px > side and fits(px)), None)
        return [px for px in (below, above) if px is not None]

    def blocks(self) -> list[nn.Module]:
        return [block for stage in self.model.layers for block in stage.blocks]

    def layers(self) -> Layers:
        """Return the layers of microsoft/SimMIM's `optimizer.py`, re-stated for timm's names.

        A PatchMerging belongs to the last block before it; timm keeps it at the start of the next stage, the official
        code at the end of its own.
        """
        depths: list[int] = [stage.depth for stage in self.model.layers]
        before = [sum(depths[:stage]) for stage in range(len(depths) + 1)]
        last = before[-1] + 1

        def layer(name: str) -> int:
            part = name.split(".")
            if part[0] in ("patch_embed", "mask_token", "absolute_pos_embed"):
                return 0
            if part[0] != "layers":
                return last
            stage = int(part[1])
            return before[stage] if part[2] == "downsample" else before[stage] + int(part[3]) + 1

        return Layers(last + 1, layer)

    def mask_token_shape(self) -> tuple[int, ...]:
        return 1, 1, 1, self.model.patch_embed.proj.out_channels

    def masked_features(self, images: Tensor, hidden: Tensor, token: Tensor) -> Tensor:
        """Put the token in the place of hidden patches after patch embedding."""
        embedded = self.model.patch_embed(images)
        shown = torch.where(hidden.unsqueeze(-1), token.to(embedded.dtype), embedded)
        tokens: Tensor = self.model.norm(self.model.layers(shown))
        return tokens.permute(0, 3, 1, 2)

    @property
    def has_fast_step(self) -> bool:
        return runs_in_window_order(self.model)

    def features_of_step(self, images: Tensor, hidden: Tensor, token: Tensor, *, compiled: bool) -> Tensor:
        if not self.has_fast_step:
            return super().features_of_step(images, hidden, token, compiled=compiled)
        return features_in_window_order(self.model, images, hidden, token, compiled=compiled)

    def map_sizes(self) -> MapSizes:
        self.require(MAPS)
        return MapSizes()

    def beside_maps(self) -> frozenset[str]:
        """Count stages after the last map, too, where a model of more than four has them."""
        last, _ = self._indexed_levels()[-1]
        later = tuple(f"layers.{stage}." for stage in range(last + 1, len(self.model.layers)))
        return super().beside_maps() | {name for name, _ in self.model.named_parameters() if name.startswith(later)}

    def maps(self, images: Tensor, *, shift_single_windows: bool, table_mode: TableMode) -> list[Tensor]:
        """Return the maps of those stages that `levels` names; tables keep the window they have."""
        self.require(MAPS)
        found = swin_maps(self.model, images, shift_single_windows, self.run_block)
        return [found[stage] for stage, _ in self._indexed_levels()]

    def tokens(self, output: Any) -> Tensor:
        found: Tensor = output.flatten(1, 2)  # blocks give [B, H, W, D]
        return found

    def properties(self) -> dict[str, object]:
        embed, stages = self.model.patch_embed, [stage.blocks for stage in self.model.layers]
        return {
            "family": self.name,
            "in_chans": embed.proj.in_channels,
            "patch_size": plain_window(embed.patch_size),
            "embed_dim": embed.proj.out_channels,
            "depths": tuple(len(blocks) for blocks in stages),
            "num_heads": tuple(blocks[0].attn.num_heads for blocks in stages),
            "mlp_width": stages[0][0].mlp.fc1.out_features,
            "img_size": plain_window(embed.img_size),
            "window_size": tuple(plain_window(window) for window in self.windows),
        }

    def size_arguments(self, differing: Container[str]) -> dict[str, Any]:
        side = self.model.patch_embed.img_size[0]
        stage_px = [self.patch_size_px * 2**stage for stage in range(len(self.windows))]
        return {"img_size": side, "window_size": window_argument(self.windows, side, stage_px)}


class SwinV2(Swin):
    """SwinV2: a network computes biases from offsets, and norms follow attention and MLP."""

    name = "SwinV2"
    attends_within_shifts = False
    kind = SwinTransformerV2
    registered_in = ("swin_transformer_v2",)
    scales_offsets = True
    video_form = "swinv2_3d"
    run_block = staticmethod(norms_after)

    @property
    def _pretrained(self) -> tuple[Size, ...]:
        """By stage, the window of pretraining; zeros where it is the present one."""
        return tuple(stage.blocks[0].attn.pretrained_window_size for stage in self.model.layers)

    @property
    def offset_windows(self) -> tuple[Size, ...]:
        present = (stage.blocks[0].attn.window_size for stage in self.model.layers)
        return tuple(before if any(before) else now for before, now in zip(self._pretrained, present, strict=True))

    def properties(self) -> dict[str, object]:
        pretrained = tuple(plain_window(window) for window in self._pretrained)
        return {**super().properties(), "pretrained_window_sizes": pretrained}

    def size_arguments(self, differing: Container[str]) -> dict[str, Any]:
        sizes = super().size_arguments(differing)
        if "pretrained_window_sizes" in differing:
            sizes["pretrained_window_sizes"] = windows_as_json(self._pretrained)
        return sizes


class SwinV2Cr(Family):
    """timm's own reading of SwinV2, whose attention masks are made anew for images of another size."""

    name = "SwinV2-CR"
    kind = SwinTransformerV2Cr
    registered_in = ("swin_transformer_v2_cr",)
    takes_window = True
    dense_arguments: ClassVar[dict[str, bool]] = {"dynamic_img_size": True}
