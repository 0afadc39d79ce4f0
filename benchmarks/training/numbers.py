"""The kinds of numbers that recipes hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def _ascending(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the smaller value first")
    return span


Span = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
"""From the smaller to the larger of two positive numbers."""
ShareSpan = Annotated[tuple[Share, Share], AfterValidator(_ascending)]
