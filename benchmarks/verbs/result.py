"""What a verb of this program, or the same function called from Python, gives back: a run that was worked on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.runs.folder import RunFolder
from benchmarks.runs.record import RunRecord

FEW_CLASSES = 6
"""With so few classes a score among the best five says nothing: it is in records and files, and nowhere shown."""


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
        scores = scores_in_words(self.scores, RunFolder(self.folder).number_of_classes)
        return f"{self.folder}: {scores or self.record.status}"


def says_something(metric: str, classes: int | None) -> bool:
    """Tell whether a metric is worth showing for so many classes (None: not known, or a task of another kind)."""
    return not metric.startswith("top5") or classes is None or not 0 < classes <= FEW_CLASSES


def scores_in_words(scores: Mapping[str, float], classes: int | None) -> str:
    """Return scores as one line of text, without those that say nothing of so many classes."""
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items() if says_something(name, classes))
