"""The kinds of numbers that recipes hold."""

from __future__ import annotations

import operator
from typing import Annotated, SupportsIndex

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


def whole_number(value: object) -> int | None:
    """Return a whole number, one of NumPy or torch as well, as Python's; None for all else, and for True and False."""
    try:
        return operator.index(value) if isinstance(value, SupportsIndex) and not isinstance(value, bool) else None
    except TypeError:  # an array of several
        return None


def require_seed(seed: object, field: str = "--seed") -> int:
    """Return a seed as Python's number. Raises UserError for what is none."""
    found = whole_number(seed)
    if found is None or not 0 <= found <= MOST_SEED:
        value = repr(seed) if isinstance(seed, str) else seed
        raise UserError.about(field, value, f"a whole number from 0 to {MOST_SEED}", "for example 0, 1, 2")
    return found


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the smaller value first")
    return span


Span = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
"""From the smaller to the larger of two positive numbers."""
ShareSpan = Annotated[tuple[Share, Share], AfterValidator(_ascending)]
