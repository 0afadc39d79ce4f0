"""Plain transformers of clips: V-JEPA 2 and VideoMAE."""

from __future__ import annotations

from typing import ClassVar

from benchmarks.families.parts import Layers
from benchmarks.families.plain.eva import Eva
from benchmarks.families.plain.video_vit import VideoViT
from benchmarks.families.plain.vit import block_layers


class Video(Eva):
    """A transformer that sees clips itself, and an image as a clip of equal frames, one tubelet long."""

    name = "video ViT"
    kind = VideoViT
    registered_in = ("video_vit",)
    sizes_known = True
    video_form = "clips"
    norm_after_mean: ClassVar[dict[str, bool | str]] = {"global_pool": "avg", "use_fc_norm": True}
    after_maps = ("norm.", "fc_norm.")
    dense_arguments: ClassVar[dict[str, bool]] = {}

    @property
    def clip_step(self) -> int:
        found: int = self.model.patch_embed.tubelet_size
        return found

    def layers(self) -> Layers:
        """Return the layers of MCG-NJU/VideoMAE's `optim_factory.py`, which are BEiT's."""
        return block_layers(len(self.model.blocks))

    def properties(self) -> dict[str, object]:
        first = self.model.blocks[0]
        return {
            **super().properties(),
            "positions": "rotary" if self.model.rotary else "sines",
            "tubelet_size": self.clip_step,
            "patch_size": self.patch_size_px,
            "in_chans": self.in_chans,
            "embed_dim": self.model.embed_dim,
            "depth": len(self.model.blocks),
            "num_heads": first.attn.num_heads,
            "mlp_width": first.mlp.fc1.out_features,
        }
