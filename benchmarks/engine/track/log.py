"""What a training logs: metrics.jsonl, which counts, and the trackers that copy it; on the main rank alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType

from benchmarks import ranks
from benchmarks.engine.track.callback import Callbacks
from benchmarks.engine.track.table import TRACKERS
from benchmarks.engine.track.tracker import Ending, Tracked, Tracker
from benchmarks.errors import Stopped, UserError
from benchmarks.runs.folder import Run
from benchmarks.runs.metrics_log import MetricsLog
from benchmarks.training.training import TrackerName, Training

UNTRACKED = {"step", "epoch", "total_steps", "eta_seconds"}
"""Fields of a line that are no curves."""


class TrainingLog:
    """A run's log, as a context: at its end the trackers are closed, with how the run ended."""

    def __init__(self, run: Run, training: Training, callbacks: Callbacks | None = None) -> None:
        self._run, self._names, self._online = run, training.track, training.track_online
        self._callbacks = callbacks
        self._lines = MetricsLog(run.folder.metrics)
        self._trackers: dict[TrackerName, Tracker] = {}

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, Stopped | KeyboardInterrupt)
        ending: Ending = "completed" if kind is None else "preempted" if stopped else "failed"
        self._close(ending)
        if self._callbacks is not None:
            self._callbacks.end(ending)

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, open the trackers and give them the lines that stay.

        Raises UserError where a tracker is not installed or lacks a setting.
        """
        if not ranks.is_main():
            return
        self._lines.rewind(step)
        self._close("preempted")
        run = Tracked(self._run.folder, self._run.record, self._online)
        for name in self._names:
            with self._spared(name):
                self._trackers[name] = TRACKERS[name](run)
        if self._trackers:
            for line in self._lines.read():
                self._track(line)
        if self._callbacks is not None:
            self._callbacks.begin(run)

    def write(self, **numbers: float) -> None:
        """Append one line, with the step. Raises WorkFailed when the disk is full."""
        if ranks.is_main():
            line = self._lines.write(**numbers)
            self._track(line)
            if self._callbacks is not None:
                self._callbacks.write(int(line["step"]), _values(line))

    def conclude(self, step: int, scores: Mapping[str, float]) -> None:
        """Give the trackers the scores that the record has, as `score/NAME`."""
        if ranks.is_main():
            self._track({"step": step} | {f"score/{name}": value for name, value in scores.items()})

    def _track(self, line: Mapping[str, float]) -> None:
        values = _values(line)
        for name, tracker in list(self._trackers.items()):
            with self._spared(name):
                tracker.write(int(line["step"]), values)

    def _close(self, ending: Ending) -> None:
        for name, tracker in list(self._trackers.items()):
            with self._spared(name):
                tracker.close(ending)
        self._trackers.clear()

    @contextlib.contextmanager
    def _spared(self, name: TrackerName) -> Iterator[None]:
        """Spare the training what a tracker raises: one that fails is given up, with a warning. Its numbers are in
        metrics.jsonl, from which the next start takes them. Its words are not shown: an address may hold a password."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            self._trackers.pop(name, None)
            what = f"{name} takes no more numbers ({type(error).__name__})"
            print(f"warning: {what}; metrics.jsonl goes on, and the next start catches up", file=sys.stderr, flush=True)


def _values(line: Mapping[str, float]) -> dict[str, float]:
    """Return a line's curves."""
    return {name: value for name, value in line.items() if name not in UNTRACKED}
