"""The kinds of numbers that recipes hold."""

from __future__ import annotations

import contextlib
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


def require_whole_number(field: str, value: object, allowed: range, rule: str, remedy: str) -> int:
    """Return a whole number, one of NumPy or torch as well, as Python's.

    Raises UserError for one that is not allowed and for all else, True and False included.
    """
    found = None
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        with contextlib.suppress(TypeError):  # an array of several
            found = operator.index(value)
    if found is None or found not in allowed:
        raise UserError.about(field, repr(value) if isinstance(value, str) else value, rule, remedy)
    return found


def require_seed(seed: object, field: str = "--seed") -> int:
    """Return a seed as Python's number. Raises UserError for what is none."""
    rule = f"a whole number from 0 to {MOST_SEED}"
    return require_whole_number(field, seed, range(MOST_SEED + 1), rule, "for example 0, 1, 2")


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the smaller value first")
    return span


Span = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
"""From the smaller to the larger of two positive numbers."""
ShareSpan = Annotated[tuple[Share, Share], AfterValidator(_ascending)]
