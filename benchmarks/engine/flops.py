"""What one forward pass costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(model: nn.Module, forward: Callable[[], Any]) -> float:
    """Return the FLOPs of one forward pass, a multiplication and an addition being two.

    `forward` runs `model`, on one image or clip, without dropped paths and before it is compiled or divided; matrix
    products, convolutions and attention are counted, as everything else is small beside them.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward()
    finally:
        model.train(training)
    return float(counter.get_total_flops())
