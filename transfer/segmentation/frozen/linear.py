"""Training a linear layer on a frozen encoder to segment; all else is as in fine-tuning."""

from __future__ import annotations

from typing import Any

from torch import nn

from benchmarks.engine.optim import parameter_groups
from transfer.adapter import Transfer
from transfer.segmentation.recipe import LinearSegmentationRecipe
from transfer.segmentation.train import TrainedSegmenter


class LinearSegmentation(TrainedSegmenter[LinearSegmentationRecipe]):
    """Linear segmentation as a problem for the training loop."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer)
        self.feature = self.model.backbone.in_words

    def groups(self) -> list[dict[str, Any]]:
        """Return the head's parameters, all with weight decay, as in the original's plain AdamW."""
        return parameter_groups(self.model, self.recipe.training.weight_decay, decays=lambda _name, _parameter: True)

    @property
    def state(self) -> nn.Module:
        """The head without its encoder, which does not change."""
        head: nn.Module = self.model.decode_head
        return head
