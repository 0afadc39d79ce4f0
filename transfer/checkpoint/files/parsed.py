"""The result that the readers of all kinds of files return."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parsed:
    """The content of one file."""

    container: str
    """The kind of file, as `container` of `CheckpointFile`."""
    content: object
    """What the file holds, as `content` of `CheckpointFile`."""
    inert: frozenset[str] = frozenset()
    """Names of the classes that were replaced by stubs."""
