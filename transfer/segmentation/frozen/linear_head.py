"""The head of linear segmentation, as a decode head of mmsegmentation."""

from __future__ import annotations

from typing import Any

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn


class LinearHead(BaseDecodeHead):  # type: ignore[misc]  # mmseg has no types
    """Batch normalisation of all channels, and a 1x1 convolution to the classes; maps are resized to the first's size.

    Source: facebookresearch/dinov2 `eval/segmentation/models/decode_heads/linear_head.py` (BNHead).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(input_transform="resize_concat", dropout_ratio=0, align_corners=False, **arguments)
        self.bn = nn.SyncBatchNorm(self.in_channels)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return logits [B, classes, h, w] at the size of the first of the maps [B, D, h, w]."""
        logits: Tensor = self.cls_seg(self.bn(self._transform_inputs(maps)))
        return logits
