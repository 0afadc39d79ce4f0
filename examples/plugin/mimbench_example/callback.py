"""A training's callback: the norm of all weights, at every line of the log, in a file beside it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from benchmarks.engine.track.callback import Callback
from benchmarks.engine.track.tracker import Ending, Tracked


class WeightNorm(Callback):
    """Writes `weight_norm.csv` into the run's folder."""

    def begin(self, run: Tracked, model: nn.Module) -> None:
        self.model, self.path = model, run.folder.path / "weight_norm.csv"
        self.lines = {"step": "norm"}

    def write(self, step: int, values: Mapping[str, float]) -> None:  # noqa: ARG002 (its parameters are given)
        squares = [parameter.detach().float().square().sum() for parameter in self.model.parameters()]
        self.lines[str(step)] = f"{torch.stack(squares).sum().sqrt():.6f}"

    def end(self, ending: Ending) -> None:  # noqa: ARG002
        self.path.write_text("".join(f"{step},{norm}\n" for step, norm in self.lines.items()))
