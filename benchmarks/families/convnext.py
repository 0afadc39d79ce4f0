"""ConvNeXt and MetaFormer (PoolFormer, CAFormer, ...): stages of blocks, then a norm that stands in the head."""

from __future__ import annotations

from typing import ClassVar

from timm.models import convnext, metaformer
from torch import nn

from benchmarks.families.family import Family, Layers


class ConvNeXt(Family):
    """ConvNeXt and ConvNeXt V2."""

    name = "ConvNeXt"
    kind = convnext.ConvNeXt
    registered_in: ClassVar[tuple[str, ...]] = ("convnext",)

    def last_norms(self) -> list[nn.Module]:
        return [self.model.norm_pre, *([] if (norm := self.norm_after_pooling) is None else [norm])]

    @property
    def norm_after_pooling(self) -> nn.Module | None:
        norm: nn.Module | None = getattr(self.model.head, "norm", None)
        return norm


class MetaFormer(ConvNeXt):
    """MetaFormer, whose layers timm does not name."""

    name = "MetaFormer"
    kind = metaformer.MetaFormer
    registered_in = ("metaformer",)

    def last_norms(self) -> list[nn.Module]:
        return [self.model.head.norm]

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
