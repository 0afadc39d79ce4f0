"""What the readers of all kinds of files give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parsed:
    """What was read out of one file."""

    container: str
    content: object
    inert: frozenset[str] = frozenset()
    """Names of the classes that were replaced by stubs."""
