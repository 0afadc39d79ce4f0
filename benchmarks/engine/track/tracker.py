"""What a tracker is, and what it is given of a run. A tracker is opened by one function of `table.py`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import JsonValue

from benchmarks.errors import UserError
from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import RunRecord

PROJECT = "mimbench"
"""W&B's project and MLflow's experiment, where the environment names no other."""
Ending = Literal["completed", "preempted", "failed"]


@dataclass(frozen=True)
class Tracked:
    """The run that is tracked."""

    folder: RunFolder
    record: RunRecord
    online: bool
    """Whether the recipe asks that numbers be sent to a server."""

    @property
    def run_id(self) -> str:
        return self.record.run_id

    @property
    def tags(self) -> dict[str, str]:
        """Return what a tracker's list of runs can be filtered by."""
        record = self.record
        found = {"run_id": record.run_id, "kind": record.kind, "recipe": record.recipe.name}
        found |= {"task": record.task.name} if record.task else {}
        return found | ({"encoder": record.encoder.label} if record.encoder else {})

    @property
    def settings(self) -> dict[str, JsonValue]:
        """Return the recipe by dotted names, without folders, devices and all else that says where it is run."""
        placed = set(self.record.recipe.placement)
        found = _dotted(self.record.recipe.resolved)
        return {"seed": self.record.seed} | {
            name: value
            for name, value in found.items()
            if not any(name == p or name.startswith(f"{p}.") for p in placed)
        }


class Tracker(Protocol):
    """Takes numbers of a run that has been opened for it. Whatever it raises ends the tracking, not the training.

    After it was opened it is given every line that the run has logged so far, and then the new ones: it passes over
    those that it has from an earlier start.
    """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values, by their names in metrics.jsonl, of an optimiser step. Steps never fall."""

    def close(self, ending: Ending) -> None:
        """Write out what is held back; `ending` says how the run's process ended."""


def imported(module: str, tracker: str) -> Any:
    """Import a tracker's library. Raises UserError, with the extra that installs it, where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        rule = f"trackers that are installed: the package {module.rpartition('.')[2]} is missing"
        raise UserError.about("training.track", tracker, rule, f"pip install 'mimbench[{tracker}]'") from None


def _dotted(value: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    for name, inner in value.items():
        found |= _dotted(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {f"{prefix}{name}": inner}
    return found
