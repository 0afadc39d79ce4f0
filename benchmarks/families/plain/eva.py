"""EVA, EVA-02 and what else timm builds from their class: DINOv3's ViTs, the Perception Encoder, ViTs with RoPE."""

from __future__ import annotations

from typing import ClassVar

from timm.models import eva
from torch import Tensor

from benchmarks.families.family import Family
from benchmarks.families.parts import Level
from benchmarks.families.plain.vit_maps import position_prefix
from benchmarks.families.resize import Change, fit_positions
from benchmarks.families.windows.position_tables import TableMode


class Eva(Family):
    """A plain transformer, most often with rotary positions, which follow the image's grid."""

    name = "EVA"
    kind = eva.Eva
    registered_in = ("eva",)
    mean_is_own = True
    dense_arguments: ClassVar[dict[str, bool]] = {"dynamic_img_size": True}

    def levels(self) -> list[Level]:
        """Return the last block's map alone, of whatever stride."""
        info = self.model.feature_info[-1]
        return [Level(int(info["num_chs"]), int(info["reduction"]))]

    def fit(self, name: str, tensor: Tensor, mode: TableMode) -> Change | None:
        """Resize position embeddings as a ViT's."""
        if name == "pos_embed":
            return fit_positions(tensor, self.model.patch_embed.grid_size, position_prefix(self.model))
        return super().fit(name, tensor, mode)
