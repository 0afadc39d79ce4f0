"""What a verb of this program, or the same function called from Python, gives back: a run that was worked on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import RunRecord


@dataclass(frozen=True)
class RunResult:
    """A run that is completed, with its record as it lies in its folder."""

    folder: Path
    record: RunRecord
    done_before: bool = False
    """Whether it was completed already, so that nothing was computed."""
    remark: str = ""
    """What a person should know of it beside its record."""
    messages: str = ""
    """What would have been printed, where progress was not to be shown."""

    @property
    def scores(self) -> dict[str, float]:
        """The scores after the last epoch by the metric's name, in the metric's unit; empty for a pretraining."""
        return {name: value.last for name, value in self.record.metrics.items()}

    @property
    def encoder(self) -> Path | None:
        """The folder of the encoder that the run exported, which `load` and `transfer` take; None where it has none."""
        return None if self.record.exported_sha256 is None else RunFolder(self.folder).encoder

    def __str__(self) -> str:
        scores = ", ".join(f"{name} {value:.2f}" for name, value in self.scores.items())
        return f"{self.folder}: {scores or self.record.status}"
