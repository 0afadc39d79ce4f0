"""Progress of long work: a bar on a terminal, plain lines at most every two seconds in a log."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from benchmarks import ranks

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_EVERY_SECONDS = 2.0
LINE_EVERY_SAMPLES = 250


class ProgressReport:
    """Shows `done` of `total` (None: nobody knows it) with a short text. Use as a context manager."""

    def __init__(self, title: str, total: int | None, unit: str = "step", *, by_any_rank: bool = False) -> None:
        """`by_any_rank`: it is shown whichever rank does the work, which else is the main one."""
        self.title, self.total, self.unit = title, total, unit
        self._shown = by_any_rank or ranks.is_main()
        self._bar = _bar() if sys.stderr.isatty() and self._shown else None
        self._task = self._bar.add_task(title, total=total, text="") if self._bar else None
        self._last_line = 0.0 if total is not None else time.monotonic()

    def __enter__(self) -> ProgressReport:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, done: int, text: str = "") -> None:
        """Show that `done` units are finished."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, text=text)
            return
        now = time.monotonic()
        if self._shown and (now - self._last_line >= LINE_EVERY_SECONDS or done == self.total):
            self._last_line = now
            of = "" if self.total is None else f"/{self.total}"
            print(f"{self.title}: {self.unit} {done}{of}  {text}".rstrip(), file=sys.stderr, flush=True)


@contextlib.contextmanager
def shown(progress: bool) -> Iterator[io.StringIO]:
    """Let a block print as it does; without `progress`, keep what it prints in the text that is yielded instead."""
    kept = io.StringIO()
    with contextlib.ExitStack() as stack:
        if not progress:
            stack.enter_context(contextlib.redirect_stdout(kept))
            stack.enter_context(contextlib.redirect_stderr(kept))
        yield kept


class EvaluationLines:
    """Prints, on the main rank, how far an evaluation is that takes one sample at a time on every rank.

    These are plain lines, since the bar of a training may be on the terminal.
    """

    def __init__(self, verb: str, total: int, noun: str) -> None:
        """The lines read `VERB DONE of TOTAL NOUN`."""
        self.verb, self.total, self.noun = verb, total, noun

    def show(self, done: int) -> None:
        """Print, every LINE_EVERY_SAMPLES samples of a rank, how many samples all ranks together have done."""
        if ranks.is_main() and done % LINE_EVERY_SAMPLES == 0:
            over_all = min(done * ranks.world_size(), self.total)
            print(f"{self.verb} {over_all} of {self.total} {self.noun}", file=sys.stderr, flush=True)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
