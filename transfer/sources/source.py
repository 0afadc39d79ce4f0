"""An encoder as a transfer sees it: what it is, and how its weights are read when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.encoders import InitStage, Normalisation
from benchmarks.errors import UserError
from benchmarks.history import Labels, TrainingData, TrainingStage, find_data_set
from benchmarks.runs.record import EncoderUse, NormalisationUse, Parity
from transfer.checkpoint.content.selection import Selection

if TYPE_CHECKING:
    from torch import Tensor

    from transfer.checkpoint.layouts.names import FileNames
    from transfer.sources.preprocessing import TestProtocol


LONGEST_NAME = 100


@dataclass(frozen=True)
class Source:
    """An encoder as a user names it."""

    use: EncoderUse
    source_format: str
    normalisation: Normalisation
    read: Callable[[], dict[str, Tensor]] | None
    """Returns the weights in timm's key layout; None for random weights."""
    parents: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    """What was assumed where a foreign checkpoint does not show it: a sentence by the name of timm's argument."""
    names: FileNames | None = None
    """What a foreign checkpoint calls its tensors."""
    parity: Parity | None = None
    """How its features compare with another reading of the same encoder, where that was measured."""
    test_protocol: Callable[[], TestProtocol | None] = lambda: None
    """Returns how its own test images are made, where something beside its weights states it."""
    implausible_allowed: bool = False
    """Whether a person lets weights be used that no training leaves behind."""

    @property
    def window_assumed(self) -> bool:
        """Whether SwinV2's window is unknown, and only assumed to be that of the usual model."""
        return "window_size" in self.assumed

    def notes(self, given: Container[str] = ()) -> tuple[str, ...]:
        """Return what the reader of a transfer should know; nothing was assumed of arguments that are `given`."""
        return (*self.remarks, *(note for name, note in self.assumed.items() if name not in given))


@dataclass(frozen=True)
class Whole(Source):
    """A trained model with its head; `read` returns the tensors of all of it."""


def use_of(normalisation: Normalisation) -> NormalisationUse:
    """Return a normalisation as a record has it."""
    return NormalisationUse(mean=normalisation.mean, std=normalisation.std, stated_by=normalisation.stated_by)


def stated_history(method: str, data: str | None, stage: InitStage, epochs: int | None) -> tuple[TrainingStage, ...]:
    """Return the history of an encoder that others trained, on the data set that a person named, if on any.

    Raises UserError for a name that is none.
    """
    if data is None:
        return (TrainingStage(method=method, epochs=epochs),)
    if not data.strip() or len(data) > LONGEST_NAME or not data.isprintable():
        rule = f"a data set's name of 1 to {LONGEST_NAME} printable characters"
        raise UserError.about("--pretrained-on", data[:LONGEST_NAME], rule, "e.g. ImageNet-1K or the data's own name")
    known = find_data_set(data)
    labels: dict[str, Labels] = {"self-supervised": "none", "supervised": "labels"}
    found = TrainingData(
        name=known.name if known else data.strip(), images=known.images if known else None, labels=labels.get(stage)
    )
    return (TrainingStage(method=method, epochs=epochs, data=found),)


def refuse_statement(data: str | None, reference: str, why: str) -> None:
    """Raise UserError where a person names the pretraining data of an encoder that is on record."""
    if data is not None:
        rule = f"left out for {reference}: {why}"
        raise UserError.about("--pretrained-on", data, rule, "remove it; it is for what others trained")


def refuse_selection(selection: Selection, reference: str) -> None:
    """Raise UserError where a person selects weights in what is no file of others."""
    if selection.given:
        field, value = ("--prefix", selection.prefix) if selection.weights is None else ("--weights", selection.weights)
        rule = f"left out for {reference}: it is for checkpoint files that others wrote"
        raise UserError.about(field, value, rule, "remove it")


def known_stage(found: InitStage | None, reference: str) -> InitStage:
    """Return the stage that was `found`. Raises UserError where it is None, for reports need to know it."""
    if found is not None:
        return found
    rule = "known: reports never mix self-supervised, supervised and fine-tuned encoders"
    remedy = "the encoder does not show it: add --stage self-supervised, --stage supervised or --stage fine-tuned"
    raise UserError.about(f"stage of {reference}", "(unknown)", rule, remedy)
