"""Resizing weights so that they fit a model of other sizes; none is ever dropped.

A tensor that no rule can make fit is left as it is, so that the load report names it and the run stops.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.families.parts import Weights
from benchmarks.families.table import family_of
from benchmarks.families.windows.position_tables import TableMode
from benchmarks.runs.record import Resized


@dataclass(frozen=True)
class Fitted:
    """Weights after every tensor with a rule was made to fit, and a record of what was done to each."""

    weights: Weights
    resized: tuple[Resized, ...]


@torch.no_grad()
def fit_weights(weights: Weights, model: nn.Module, mode: TableMode = "geometric-cubic") -> Fitted:
    """Resize every tensor whose shape is not that of the model's tensor of the same name, where its family has a rule.

    `mode` is how relative position bias tables are resized. Tensors that fit already are passed on bit for bit.
    """
    family = family_of(model)
    arranged, copied = family.arranged(weights)
    fitted = dict(arranged)
    done = {name: _record(name, fitted[name], fitted[name], how) for name, how in copied.items()}
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, tensor in arranged.items():
        if tensor.shape == expected.get(name, tensor.shape):
            continue
        change = family.fit(name, tensor, mode)
        if change is None or change.tensor.shape != expected[name]:
            continue
        fitted[name] = change.tensor.contiguous()
        before = [done[name].mode] if name in done else []
        done[name] = _record(name, tensor, change.tensor, ", ".join([*before, change.mode]))
    return Fitted(fitted, tuple(done.values()))


def _record(name: str, source: Tensor, fitted: Tensor, mode: str) -> Resized:
    return Resized(name=name, from_shape=tuple(source.shape), to_shape=tuple(fitted.shape), mode=mode)
