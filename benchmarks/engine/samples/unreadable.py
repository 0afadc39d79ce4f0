"""Files that could not be read: the next one takes the place, each is named once, and too many end the run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from PIL import Image

from benchmarks.errors import WorkFailed

T = TypeVar("T")
R = TypeVar("R")

UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow and NumPy raise for a file that holds no whole image or array."""


class UnusableError(Exception):
    """A sample that cannot be used, as `path: reason`."""


@contextlib.contextmanager
def damage_named(where: object, words: Callable[[Exception], object] = str) -> Iterator[None]:
    """Raise UnusableError, which names `where`, for a damaged file that is read in the block.

    `words` returns what is shown of an error.
    """
    try:
        yield
    except UNREADABLE as error:
        raise UnusableError(f"{where}: {type(error).__name__}: {words(error)}") from None


def next_usable(items: Sequence[T], first: int, patience: int, read: Callable[[T], R], failed: list[str]) -> R | None:
    """Return what `read` makes of the item at `first`, or else of one of the `patience` next ones, in a circle.

    What cannot be used is added to `failed`. None where all failed: the loop stops the run when it counts these files,
    and until then the batch needs something blank.
    """
    for candidate in range(first, first + patience + 1):
        try:
            return read(items[candidate % len(items)])
        except UnusableError as fault:
            failed.append(str(fault))
    return None


class Unreadable:
    """The unreadable files met so far, as `path: error`, against the limit of the recipe."""

    def __init__(self, limit: int, names: list[str] | None = None) -> None:
        self.limit = limit
        self.names = list(names or [])

    def of(self, where: str) -> list[str]:
        """Return what was noted of the file at `where`."""
        return [text for text in self.names if text.startswith(f"{where}: ")]

    def note(self, found: list[str]) -> None:
        """Warn about files not met before. Raises WorkFailed when there are more than the limit."""
        for text in found:
            if text not in self.names:
                self.names.append(text)
                print(f"warning: unreadable file skipped: {text}", file=sys.stderr, flush=True)
        if len(self.names) > self.limit:
            shown = "\n    ".join(self.names[:20])
            raise WorkFailed(
                f"{len(self.names)} unreadable files, and data.max_unreadable is {self.limit}:\n    {shown}\n"
                "  remedy: repair or remove the files, or allow more with data.max_unreadable=N"
            )
