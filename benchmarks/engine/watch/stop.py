"""Stop requests: the first signal asks to save and stop, a second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, ClassVar

from benchmarks.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


class Interrupted(Stopped):
    """A stop was requested while something was measured."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(f"{signal_name} during an evaluation: the same command begins it again")
        self.signal_name = signal_name


class StopRequest:
    """While entered, Ctrl-C, SIGTERM and SIGUSR2 (Slurm's warning) only set `number`.

    Python hears signals in its main thread alone: entered in another, none is heard.
    """

    _entered: ClassVar[StopRequest | None] = None

    def __init__(self) -> None:
        self.number = 0
        """The number of the signal that asked to stop; 0 while none did."""
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> str | None:
        """The signal's name."""
        return signal.Signals(self.number).name if self.number else None

    @classmethod
    @contextlib.contextmanager
    def entered(cls) -> Iterator[StopRequest]:
        """Yield the request that is entered already, or else one for the block."""
        with contextlib.nullcontext(cls._entered) if cls._entered is not None else cls() as request:
            yield request

    def __enter__(self) -> StopRequest:
        StopRequest._entered = self
        # Ctrl-C that is ignored (`&` in a script) stays so; SIGTERM is ignored by submitit, and must be heard.
        in_main = threading.current_thread() is threading.main_thread()
        heard = [number for number in SIGNALS if number != signal.SIGINT or not _is_ignored(number)] if in_main else []
        self._before = {number: signal.signal(number, self._on_signal) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        StopRequest._entered = None
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise Stopped("at once; what came after the last checkpoint is done again by the same command")
        self.number = number
        print(
            f"{signal.Signals(number).name}: saving after this step; Ctrl-C again stops at once",
            file=sys.stderr,
            flush=True,
        )
