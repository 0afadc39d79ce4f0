"""MetaFormer: PoolFormer, ConvFormer, CAFormer."""

from __future__ import annotations

from timm.models import metaformer

from benchmarks.families.family import Family
from benchmarks.families.parts import Layers


class MetaFormer(Family):
    """MetaFormer, whose layers timm does not name."""

    name = "MetaFormer"
    kind = metaformer.MetaFormer
    registered_in = ("metaformer",)

    def layers(self) -> Layers:
        """Return the stem as layer 0, then every block in order, each stage's subsampling with its first block."""
        depths = [len(stage.blocks) for stage in self.model.stages]
        before = [sum(depths[:stage]) for stage in range(len(depths))]
        last = sum(depths) + 1

        def layer(name: str) -> int:
            part = name.split(".")
            if part[0] == "stem":
                return 0
            if part[0] != "stages":
                return last
            return before[int(part[1])] + (int(part[3]) if part[2] == "blocks" else 0) + 1

        return Layers(last + 1, layer)
