"""What is trained, as the training loop sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from benchmarks.engine.samples.loaders import AnyBatch

B = TypeVar("B", bound=AnyBatch)


class Problem(ABC, Generic[B]):
    """What is trained: a model on its device, its parameter groups, how a batch becomes a loss."""

    device: torch.device
    model: nn.Module
    parameter_groups: list[dict[str, Any]]
    """As `benchmarks.engine.optim.parameter_groups` returns them; all trainable parameters of `model`."""
    divided: bool = False
    """Whether `model` is divided between ranks (`processes.parallel.divide`), and so is not copied to each of them."""
    rows: slice = slice(0, None)
    """The rows of the global batch that the next call of `loss` gets; the loop sets it."""

    @abstractmethod
    def loss(self, batch: B, step: int) -> Tensor:
        """Return the scalar loss of a batch that is on the device: the mean over its samples."""

    def evaluate(self, last: bool) -> dict[str, float]:  # noqa: ARG002
        """Return what is measured now, by name, on every rank; empty where nothing is. `last`: after the last step."""
        return {}

    def after_step(self, step: int) -> None:
        """Do what follows the optimiser's `step`-th step (1-based)."""

    @property
    def state(self) -> nn.Module:
        """The module whose tensors checkpoints keep, besides the optimiser's."""
        return self.model


class LossOf(nn.Module):
    """A problem's loss as a module, so that DDP sees its forward pass."""

    def __init__(self, problem: Problem[Any]) -> None:
        super().__init__()
        self.model, self._loss = problem.model, problem.loss

    def forward(self, batch: Any, step: int) -> Tensor:
        return self._loss(batch, step)
