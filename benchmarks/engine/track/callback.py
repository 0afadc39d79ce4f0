"""Code of another package beside a training: `training.callbacks` names it, and it is given what the log is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from benchmarks import plugins
from benchmarks.engine.track.tracker import Ending, Tracked
from benchmarks.errors import Stopped, UserError, WorkFailed

FIELD = "training.callbacks"


class Callback:
    """What a training calls, on its main process alone. It watches: what is trained does not depend on it.

    An error that it raises ends the run, and the run's record says so.
    """

    def begin(self, run: Tracked, model: nn.Module) -> None:
        """Take the run that has been opened, or goes on, and the model that is trained."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take a new line of the log: values of an optimiser step, by their names in metrics.jsonl."""

    def end(self, ending: Ending) -> None:
        """Take how the run's process ended; no line follows."""


class Callbacks:
    """The callbacks of a training, which are called in the order of their names in the recipe."""

    def __init__(self, names: Sequence[str], model: nn.Module) -> None:
        """Raises UserError for a name that no installed package adds."""
        self._model, self._begun = model, False
        self._named: dict[str, Callback] = {}
        for name in names:
            with _named(name):
                self._named[name] = plugins.required("callbacks", name, FIELD)()

    def begin(self, run: Tracked) -> None:
        """Give every callback the run, once."""
        for name, callback in {} if self._begun else self._named.items():
            with _named(name):
                callback.begin(run, self._model)
        self._begun = True

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Give every callback a line."""
        for name, callback in self._named.items():
            with _named(name):
                callback.write(step, values)

    def end(self, ending: Ending) -> None:
        """Tell every callback that has begun how the run's process ended."""
        begun, self._begun = self._begun, False
        for name, callback in self._named.items() if begun else ():
            with _named(name):
                callback.end(ending)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Raise WorkFailed, with the callback's name and package, in the place of an error that it raises."""
    try:
        yield
    except (Stopped, UserError):
        raise
    except Exception as error:
        plugin = plugins.named("callbacks", name)
        of = "" if plugin is None else f" of {plugin.where}"
        what = f"callback {name}{of}: {type(error).__name__}: {error}"
        raise WorkFailed(
            f"{what}\n  remedy: correct it, or leave it out of {FIELD}; the same command goes on"
        ) from error
