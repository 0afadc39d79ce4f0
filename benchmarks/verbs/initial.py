"""The encoder that a pretraining starts from, as the room that reads encoders gives it to the one that pretrains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmarks.encoders import Normalisation
from benchmarks.runs.record import EncoderUse, LoadReport
from benchmarks.verbs.statement import EncoderStatement

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class InitialEncoder(ABC):
    """An encoder whose weights can be loaded into another model of the same architecture."""

    use: EncoderUse
    parents: tuple[str, ...]
    """Run ids that led to it, nearest last."""
    normalisation: Normalisation

    @abstractmethod
    def load(self, backbone: nn.Module) -> LoadReport:
        """Copy the weights into a timm model, resized where its family has a rule; return what was copied.

        Raises UserError for a model of another architecture, even where the tensors' shapes agree.
        """

    @abstractmethod
    def require_complete(self, report: LoadReport) -> None:
        """Raise WorkFailed, naming the tensors, unless `report` says that the whole encoder was loaded."""


class FindInitial(Protocol):
    """A function that returns the encoder which a reference names, as `mimbench transfer` finds it."""

    def __call__(self, reference: str, said: EncoderStatement) -> InitialEncoder: ...
