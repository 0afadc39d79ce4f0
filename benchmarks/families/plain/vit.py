"""Plain transformers: one list of blocks, which all see the same grid of patches."""

from __future__ import annotations

from typing import Any, ClassVar

from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from benchmarks.encoders import plain_window
from benchmarks.families.family import Family
from benchmarks.families.parts import MAPS, Capability, Layers, Level
from benchmarks.families.plain.vit_maps import position_prefix, vit_map
from benchmarks.families.resize import Change, fit_positions
from benchmarks.families.sizes import MapSizes
from benchmarks.families.windows.position_tables import TableMode


class ViT(Family):
    """ViT, DeiT and what timm builds from the same class."""

    name = "ViT"
    kind = VisionTransformer
    registered_in: ClassVar[tuple[str, ...]] = ("vision_transformer", "deit", "vision_transformer_hybrid")
    sizes_known = True
    mean_is_own = True
    norm_after_mean: ClassVar[dict[str, bool | str]] = {"global_pool": "avg", "fc_norm": True}
    after_maps = ("norm.", "fc_norm.", "attn_pool.")

    def can(self, capability: Capability) -> bool:
        """Refuse maps of hybrids, whose patches are a ConvNet's."""
        return super().can(capability) and (capability is not MAPS or isinstance(self.model.patch_embed, PatchEmbed))

    def blocks(self) -> list[nn.Module]:
        return list(self.model.blocks)

    def levels(self) -> list[Level]:
        """Return the last block's map alone, of whatever stride: timm lists one for each block, all of one size."""
        info = self.model.feature_info[-1]
        return [Level(int(info["num_chs"]), int(info["reduction"]))]

    def map_sizes(self) -> MapSizes:
        return MapSizes()

    def tokens(self, output: Any) -> Tensor:
        found: Tensor = output
        return found

    def layers(self) -> Layers:
        return block_layers(len(self.model.blocks))

    def maps(self, images: Tensor, *, shift_single_windows: bool, table_mode: TableMode) -> list[Tensor]:
        """Return one map; position embeddings follow the image's grid."""
        return [vit_map(self.model, images)]

    def properties(self) -> dict[str, object]:
        embed, block = self.model.patch_embed, self.model.blocks[0]
        attention, wide = getattr(block, "attn", None), getattr(getattr(block, "mlp", None), "fc2", None)
        return {
            "family": self.name,
            "in_chans": embed.proj.in_channels,
            "patch_size": plain_window(embed.patch_size),
            "embed_dim": embed.proj.out_channels,
            "depth": len(self.model.blocks),
            "num_heads": getattr(attention, "num_heads", None),
            "mlp_width": getattr(wide, "in_features", None),
            "img_size": plain_window(embed.img_size),
        }

    def fit(self, name: str, tensor: Tensor, mode: TableMode) -> Change | None:
        """Resize position embeddings, too, to the model's grid."""
        if name == "pos_embed":
            return fit_positions(tensor, self.model.patch_embed.grid_size, position_prefix(self.model))
        return super().fit(name, tensor, mode)


def block_layers(depth: int) -> Layers:
    """Return the layers of microsoft/unilm's `beit/optim_factory.py`, re-stated for timm's names."""

    def layer(name: str) -> int:
        part = name.split(".")
        if part[0] in ("patch_embed", "cls_token", "dist_token", "mask_token", "pos_embed", "reg_token"):
            return 0
        return int(part[1]) + 1 if part[0] == "blocks" else depth + 1  # rel_pos_bias, which all blocks share, too

    return Layers(depth + 2, layer)
