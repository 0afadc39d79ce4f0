"""Running an encoder's blocks one by one: in another way than their own forward, and without keeping activations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Step = Callable[..., Tensor]


def run_as(block: nn.Module, step: Step, *arguments: Any) -> Tensor:
    """Return `step(block, *arguments)`, run in the place of the block's own forward pass.

    The block itself is called, so that what is hooked to its forward pass takes place: FSDP gathers its parameters.
    """
    own, again = block.__dict__.get("forward"), getattr(block, "recomputed", False)
    step = partial(step, block)
    block.forward = partial(_computed_again, block, step) if again else step
    try:
        result: Tensor = block(*arguments)
    finally:
        del block.forward
        if own is not None:
            block.forward = own
    return result


def recompute(block: nn.Module) -> None:
    """Let the backward pass compute the block's activations again, to the same bits, instead of keeping them."""
    block.recomputed = True  # type: ignore[assignment]  # torch declares modules and tensors alone as attributes
    block.forward = partial(_computed_again, block, block.forward)


def _computed_again(block: nn.Module, function: Step, *arguments: Any, **named: Any) -> Tensor:
    if not torch.is_grad_enabled():
        return function(*arguments, **named)
    result: Tensor = checkpoint(
        function,
        *arguments,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _statistics_kept(block)),
        **named,
    )
    return result


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Leave running means as the first computation made them: the second sees the same batch once more."""
    norms = [each for each in block.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    buffers = [(each.running_mean, each.running_var, each.num_batches_tracked) for each in norms]
    try:
        for norm in norms:
            norm.running_mean, norm.running_var, norm.num_batches_tracked = (
                None if kept is None else kept.clone()
                for kept in (norm.running_mean, norm.running_var, norm.num_batches_tracked)
            )
        yield
    finally:
        for norm, (mean, variance, count) in zip(norms, buffers, strict=True):
            norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, variance, count
