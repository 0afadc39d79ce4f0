"""What one forward pass costs, and how fast a device multiplies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

TRIES = 3
SIDES = {"cpu": 1536, "cuda": 8192}
"""The side of the square matrices whose product is timed, by kind of device."""


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
        with torch.no_grad(), parametrize.cached():
            if any(map(parametrize.is_parametrized, model.modules())):
                forward()  # what makes weights of adapters is no part of a prediction: an export has them merged
            with FlopCounterMode(display=False) as counter:
                forward()
    finally:
        model.train(training)
        for parameter in trained:
            parameter.requires_grad_(True)
    return float(counter.get_total_flops())


def matrix_flops_per_second(
    device: torch.device, dtype: torch.dtype, product: Callable[[Tensor, Tensor], Tensor] = torch.matmul
) -> float:
    """Return the FLOPs per second of products of large square matrices on a device: the best of `TRIES`."""
    side = SIDES[device.type]
    matrix, best = torch.ones(side, side, dtype=dtype, device=device), 0.0
    for _ in range(TRIES):
        best = max(best, 2 * side**3 / seconds_of(lambda: product(matrix, matrix), device))
    return best


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return how long a device works on what a function asks of it: by the GPU's own events, or by the clock."""
    if device.type == "cuda":
        event: Any = torch.cuda.Event  # torch has no types for it
        begin, end = (event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
