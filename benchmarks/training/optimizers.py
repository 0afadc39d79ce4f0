"""Optimisers that a recipe names: AdamW, SGD, LARS. Light to import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, Tag

from benchmarks.config import Config, kind_or
from benchmarks.training.numbers import Positive

if TYPE_CHECKING:
    from torch.optim import Optimizer


class AdamW(Config):
    """Adam with decoupled weight decay. Source of the defaults: microsoft/SimMIM."""

    kind: Literal["adamw"] = "adamw"
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Positive = 1e-8

    def build(self, groups: list[dict[str, Any]], lr: float, fused: bool = False) -> Optimizer:
        """Return the optimiser over groups that `benchmarks.engine.optim.parameter_groups` made.

        `fused` goes once through all weights, instead of once for each of Adam's operations.
        """
        from torch.optim import AdamW

        return AdamW(groups, lr=lr, betas=self.betas, eps=self.eps, fused=True if fused else None)


class Sgd(Config):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False

    def build(self, groups: list[dict[str, Any]], lr: float, fused: bool = False) -> Optimizer:  # noqa: ARG002
        """Return the optimiser over groups that `benchmarks.engine.optim.parameter_groups` made."""
        from torch.optim import SGD

        return SGD(groups, lr=lr, momentum=self.momentum, nesterov=self.nesterov)


class Lars(Config):
    """Layer-wise adaptive rates: each matrix's step is scaled to `trust_coefficient` of its own norm.

    Vectors and biases take plain steps with momentum. Source: arXiv:1708.03888, facebookresearch/mae `util/lars.py`.
    """

    kind: Literal["lars"] = "lars"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    trust_coefficient: Positive = 1e-3

    def build(self, groups: list[dict[str, Any]], lr: float, fused: bool = False) -> Optimizer:  # noqa: ARG002
        """Return the optimiser over groups that `benchmarks.engine.optim.parameter_groups` made."""
        from timm.optim import Lars

        # timm does not adapt groups without weight decay unless asked to; a group holds either matrices or vectors
        marked = [{**group, "always_adapt": all(tensor.ndim > 1 for tensor in group["params"])} for group in groups]
        optimizer: Optimizer = Lars(marked, lr=lr, momentum=self.momentum, trust_coeff=self.trust_coefficient)
        return optimizer


Optimization = Annotated[
    Annotated[AdamW, Tag("adamw")] | Annotated[Sgd, Tag("sgd")] | Annotated[Lars, Tag("lars")], kind_or("adamw")
]
