"""What a training step can leave out or do faster than the method's plain form, with the same loss and gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import linear

from benchmarks.families.table import family_of
from pretrain.method.frame import Frame
from pretrain.method.heads import LinearHead
from pretrain.method.masked_encoders import MaskedEncoder
from pretrain.method.objectives import Objective, PixelObjective, at_resolution
from pretrain.recipe import PretrainRecipe

WINDOWS = "tokens in the order of windows"
HIDDEN = "the head on hidden tokens alone"
RECOMPUTED = "norms and GELU computed again"
APART = "no attention across shifts"
BIASES = "biases added by oneDNN"
ONEDNN = "products of linear layers by oneDNN"


@dataclass(frozen=True)
class FastStep:
    """Which faster ways fit an encoder, a head and a target."""

    windows: bool
    """Whether the encoder's family has a faster way through its blocks."""
    hidden: int | None
    """How many tokens of each image are hidden, where the head and the loss need no other; else None."""

    @property
    def names(self) -> tuple[str, ...]:
        """The faster ways in words, for the record."""
        return (WINDOWS,) * self.windows + (HIDDEN,) * (self.hidden is not None)


def fast_step(recipe: PretrainRecipe, encoder: MaskedEncoder, objective: Objective, frame: Frame) -> FastStep:
    """Return the faster ways that give what a recipe asks for.

    Tokens in the order of windows have the lower precision from the patch embedding on, whose sums over blocks fp16
    does not hold: there blocks run under autocast.
    """
    windows = family_of(encoder.backbone).has_fast_step and recipe.training.precision != "fp16"
    masked = isinstance(objective, PixelObjective) and objective.scope == "masked"
    squares = recipe.masking.mask_patch_size_px
    if not (masked and isinstance(recipe.head, LinearHead)) or squares % frame.stride_px:
        return FastStep(windows, None)
    cells = recipe.masking.hidden_cells(recipe.image_size_px // squares)
    return FastStep(windows, cells * (squares // frame.stride_px) ** 2)


def hidden_places(hidden: Tensor, grid: int, count: int) -> Tensor:
    """Return the numbers [B, count] of hidden tokens in a grid of which a mask [B, h, w] hides `count` in each image.

    The host, which knows the count, waits for nothing.
    """
    tokens = at_resolution(hidden, grid).flatten(1)
    return tokens.byte().argsort(dim=1, descending=True, stable=True)[:, :count]


def predictions_at(head: nn.Module, tokens: Tensor, places: Tensor) -> Tensor:
    """Return the predictions [B, M, K] of a linear head for the tokens [B, N, D] at places [B, M]."""
    assert isinstance(head, nn.Sequential)
    convolution = head[0]
    assert isinstance(convolution, nn.Conv2d)
    chosen = tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    return linear(chosen, convolution.weight.flatten(1), convolution.bias)
