"""Which of a file's sets of weights, and which part of one, a person wants. This module is light to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """What a person says of the weights in a file; None leaves it to the order in `state_dict.py`."""

    weights: str | None = None
    """The key of a set of weights, as `model_ema`; dotted where it lies deeper."""
    prefix: str | None = None
    """What the encoder's names begin with, as `module.encoder_k.`."""

    @property
    def given(self) -> bool:
        """Whether a person said anything."""
        return self != Selection()
