"""A quantity that is only known to lie between two numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

MARK = "~"
"""What stands before every figure that was estimated."""


class Span(NamedTuple):
    """From the smallest to the largest value that a quantity is likely to have."""

    low: float
    high: float

    def times(self, factor: float) -> Span:
        """Return the span of a multiple."""
        return Span(self.low * factor, self.high * factor)

    def plus(self, other: Span) -> Span:
        """Return the span of a sum."""
        return Span(self.low + other.low, self.high + other.high)

    def text(self, shown: Callable[[float], str], unit: str = "") -> str:
        """Return it marked as an estimate, each end as `shown` writes it; once where both look alike."""
        ends = dict.fromkeys((shown(self.low), shown(self.high)))
        return f"{MARK}{'-'.join(ends)}{unit}"


def rounded(value: float) -> str:
    """Return a number with the two digits that an estimate has."""
    if not value:
        return "0"
    digits = 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


NOTHING = Span(0.0, 0.0)
