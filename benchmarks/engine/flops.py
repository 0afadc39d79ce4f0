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
    training, trained = model.training, [each for each in model.parameters() if each.requires_grad]
    model.eval()
    for parameter in trained:
        parameter.requires_grad_(False)  # the counter looks for a gradient function, which no_grad does not make
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            forward()
    finally:
        model.train(training)
        for parameter in trained:
            parameter.requires_grad_(True)
    return float(counter.get_total_flops())
