"""The kinds of numbers that recipes hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from benchmarks.errors import UserError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
MOST_SEED = 2**32 - 1
"""The largest seed that everything which draws takes, and takes as it is: NumPy's and scikit-learn's."""
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
"""What decides all that is drawn. A negative one would draw in part what its positive does: Python drops its sign."""
Share = Annotated[float, Field(ge=0, le=1)]


def require_seed(seed: object, field: str = "--seed") -> None:
    """Raise UserError for what is no seed."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
        value = repr(seed) if isinstance(seed, str) else seed
        raise UserError.about(field, value, f"a whole number from 0 to {MOST_SEED}", "for example 0, 1, 2")


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the smaller value first")
    return span


Span = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
"""From the smaller to the larger of two positive numbers."""
ShareSpan = Annotated[tuple[Share, Share], AfterValidator(_ascending)]
