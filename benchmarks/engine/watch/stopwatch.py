"""Time at work, over all attempts, without the pauses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds since it was made plus `before`, less what was spent in `paused()` blocks."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.monotonic() - before
        self._lap_start = before

    def total(self) -> float:
        return time.monotonic() - self._start

    def lap(self) -> float:
        """Return the seconds since the last lap; never zero."""
        now = self.total()
        seconds, self._lap_start = max(now - self._lap_start, 1e-9), now
        return seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self._start += time.monotonic() - begin
