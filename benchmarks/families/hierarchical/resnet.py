"""ResNet, and what else timm builds from its class: ResNeXt, Res2Net, ResNeSt, SE-, ECA- and SK-ResNets."""

from __future__ import annotations

from typing import ClassVar

import torch
from timm.models import resnet
from torch import Tensor, nn

from benchmarks.families.family import Family


class ResNet(Family):
    """ResNet, whose mask token is a colour in place of hidden pixels: convolutions mix hidden and visible patches."""

    name = "ResNet"
    kind = resnet.ResNet
    registered_in: ClassVar[tuple[str, ...]] = ("resnet", "res2net", "resnest", "sknet")
    sizes_known = True

    def blocks(self) -> list[nn.Module]:
        stages = (self.model.layer1, self.model.layer2, self.model.layer3, self.model.layer4)
        return [block for stage in stages for block in stage]

    def mask_token_shape(self) -> tuple[int, ...]:
        return 1, self.in_chans, 1, 1

    def masked_features(self, images: Tensor, hidden: Tensor, token: Tensor) -> Tensor:
        features: Tensor = self.model.forward_features(torch.where(hidden.unsqueeze(1), token.to(images.dtype), images))
        return features
