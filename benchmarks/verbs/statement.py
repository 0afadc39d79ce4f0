"""What a person says of an encoder beside its name: one list of options, for every verb that takes an encoder."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from benchmarks.encoders import TrainedStage
from benchmarks.errors import require_text


@dataclass(frozen=True, kw_only=True)
class EncoderStatement:
    """What a person says of an encoder; None leaves it to what its file, its name or its record shows.

    The fields are options of the verbs that take an encoder, keywords of the functions of the same names, and fields of
    a pipeline's encoders.
    """

    stage: TrainedStage | None = None
    """How far others trained it."""
    pretrained_on: str | None = None
    """The data set on which others trained it."""
    architecture: str | None = None
    """What it is, which must agree with its tensors."""
    weights: str | None = None
    """Which of its file's sets of weights is meant; with `prefix` a `Selection`."""
    prefix: str | None = None
    """What its names in the file begin with."""
    allow_implausible_weights: bool = False
    """Whether weights are taken that no training leaves behind."""
    epoch: int | None = None
    """Take the encoder that a pretraining run exported after so many epochs, before its end."""

    def __post_init__(self) -> None:
        for name in ("stage", "pretrained_on", "architecture", "weights", "prefix"):
            require_text(name, getattr(self, name))

    @classmethod
    def of(cls, stated: object) -> EncoderStatement:
        """Return what the fields of these names state: of a command's arguments, or of a pipeline's encoder."""
        found = {each.name: getattr(stated, each.name, None) for each in fields(cls)}
        return cls(**{name: value for name, value in found.items() if value is not None})

    @classmethod
    def in_command(cls, command: Iterable[str]) -> EncoderStatement:
        """Return what the command of a record states, but for code to run; nothing where it is no command of ours."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        add_statement_arguments(parser)
        try:
            found = cls.of(parser.parse_known_args(list(command))[0])
        except (argparse.ArgumentError, SystemExit):
            return cls()
        return replace(found, architecture=None) if ":" in (found.architecture or "") else found

    @property
    def options(self) -> dict[str, object]:
        """What is stated, by its field's name."""
        return {name: value for name, value in vars(self).items() if value is not None and value is not False}


def add_statement_arguments(
    parser: argparse._ActionsContainer, encoder: str = "the encoder", names: Iterable[str] = ()
) -> None:
    """Add an option for each field of an `EncoderStatement`, or for those `names` alone that a verb has."""
    for name in names or _ARGUMENTS:
        words = _ARGUMENTS[name]
        said = {**words, "help": words["help"].format(encoder=encoder)}
        parser.add_argument(f"--{name.replace('_', '-')}", **said)


_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "stage": {
        "choices": get_args(TrainedStage),
        "help": "how far others trained {encoder}, where neither a file nor a name says so",
    },
    "pretrained_on": {
        "metavar": "NAME",
        "help": "the data set on which others trained {encoder}, for reports, where its name does not say so",
    },
    "architecture": {
        "metavar": "NAME",
        "help": "what {encoder} is: an encoder of `mimbench list encoders`, a YAML file of that form or a timm model; "
        "it must agree with the tensors, and settles what they leave open",
    },
    "epoch": {
        "type": int,
        "metavar": "N",
        "help": "where {encoder} is that of a pretraining run: as it was after N epochs (the run's export_epochs)",
    },
    "weights": {
        "metavar": "KEY",
        "help": "which set of weights of {encoder} to take, where its file holds several: model_ema",
    },
    "prefix": {
        "metavar": "NAME",
        "help": "what the names of {encoder} begin with, where its file holds several encoders",
    },
    "allow_implausible_weights": {
        "action": "store_true",
        "help": "go on with weights that are constant, not finite or as a fresh initialisation; the record says so",
    },
}
