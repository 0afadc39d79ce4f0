"""How a pipeline is shown: on a terminal (a live table) and in a log (a plain line now and then)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from benchmarks.errors import printable_lines
from slurm.state.observe import BAD, DONE, LIVE, View

LINE_EVERY_S = (2.0, 60.0)
"""Between two lines of a log on what is at work: at first, and at most; else half of the time that has passed."""
SAME_EVERY_S = 10.0
"""Between two lines of a log that say the same, at least."""
WIDE = 200
COLOURS = {
    "completed": "green",
    "pruned": "blue",
    "failed": "red",
    "skipped": "yellow",
    "stopped": "yellow",
    "suspended": "yellow",
    "running": "cyan",
}


class Display(Protocol):
    """Shows views while stages run."""

    def update(self, views: Mapping[str, View]) -> None:
        """Show the views of all stages, by name."""

    def say(self, message: str) -> None:
        """Print a line."""

    def close(self) -> None:
        """Give the terminal back."""


def console_for_tables() -> Console:
    """Return a console as wide as the terminal; a file or a pipe is as wide as it needs to be."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def open_display(console: Console) -> Display:
    """Return a live table where the console is a terminal, else plain lines."""
    return LiveTable(console) if console.is_terminal else PlainLines()


class LiveTable:
    """A table that redraws itself."""

    def __init__(self, console: Console) -> None:
        self._started = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4)
        self._live.start()

    def update(self, views: Mapping[str, View]) -> None:
        elapsed = time.monotonic() - self._started
        self._live.update(stage_table(views, f"{_done(views)}, {clock(elapsed)}"))

    def say(self, message: str) -> None:
        self._live.console.print(message, markup=False, highlight=False)

    def close(self) -> None:
        self._live.stop()


class PlainLines:
    """One line now and then, and one for each change of state that is worth reading in a log."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._last = -math.inf
        self._said: list[str] = []
        self._shown: dict[str, str] = {}

    def update(self, views: Mapping[str, View]) -> None:
        for name, view in views.items():
            if view.state in (*DONE, *BAD) and self._shown.get(name) != view.state:
                self.say(f"{name} {describe(view)}")
            self._shown[name] = view.state
        now, (least, most) = time.monotonic(), LINE_EVERY_S
        words = [_done(views), *_moving(views)]
        least = SAME_EVERY_S if words == self._said else least
        if now - self._last >= min(max(least, (self._last - self._started) / 2), most):
            self.say(" | ".join(words))
            self._last, self._said = now, words

    def say(self, message: str) -> None:
        print(f"[{time.monotonic() - self._started:4.0f}s] {message}", flush=True)

    def close(self) -> None:
        pass


def _done(views: Mapping[str, View]) -> str:
    return f"{sum(view.state in DONE for view in views.values())}/{len(views)} stages done"


def _moving(views: Mapping[str, View]) -> list[str]:
    return [f"{name} {describe(view)}" for name, view in views.items() if view.state in LIVE]


def describe(view: View) -> str:
    """Return a view in words: `step 120/930 loss 0.41 eta 31s`, `starting`, `failed: the loss is not finite`.

    The reason may quote a log: what would act on the terminal is escaped.
    """
    if view.state == "running" and view.progress is not None:
        progress = view.progress
        words = [f"step {progress.step}/{progress.total_steps}"]
        words += [f"loss {progress.loss:.3g}"] if progress.loss is not None else []
        words += [f"eta {clock(progress.eta_seconds)}"] if progress.eta_seconds is not None else []
        return " ".join(words)
    if view.why:
        return _state(view)
    took = f" in {clock(view.seconds)}" if view.state == "completed" and view.seconds is not None else ""
    return view.state + took


def stage_table(views: Mapping[str, View], title: str, jobs: Mapping[str, str] | None = None) -> Table:
    """Return one row for each stage: state, step, eta, loss, seconds and, where given, its job.

    What would act on the terminal is escaped: hosts, reasons and ids come out of files that others may have written.
    """
    table = Table(title=_plain(title, "table.title"), title_justify="left", box=None, pad_edge=False)
    for header in ("stage", "state", "step", "eta", "loss", "seconds", *(["job"] if jobs is not None else [])):
        left = header in ("stage", "state", "job")
        table.add_column(header, justify="left" if left else "right", overflow="fold", no_wrap=header != "state")
    for name, view in views.items():
        progress, running = view.progress, view.state == "running"
        table.add_row(
            _plain(name),
            _plain(_state(view), COLOURS.get(view.state, "")),
            f"{progress.step}/{progress.total_steps}" if progress else "",
            clock(progress.eta_seconds) if progress and running and progress.eta_seconds is not None else "",
            f"{progress.loss:.4g}" if progress and progress.loss is not None else "",
            f"{view.seconds:.0f}" if view.seconds is not None else "",
            *([_plain(jobs.get(name, ""))] if jobs is not None else []),
        )
    return table


def _state(view: View) -> str:
    return printable_lines(f"{view.state}: {view.why}" if view.why else view.state)


def _plain(text: str, style: str = "") -> Text:
    """Return a text that is shown as it is: rich would read brackets in a string as styles and links."""
    return Text(printable_lines(text), style)


def clock(seconds: float) -> str:
    """Return a duration for people: `34s`, `2m05s`, `3h12m`, `2d04h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
