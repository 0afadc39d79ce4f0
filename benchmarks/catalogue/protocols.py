"""The protocols by which encoders are measured, each with its source and with what ours equals there."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from benchmarks.config import Config, validate
from benchmarks.files.yaml_files import read_yaml

FILE = Path(__file__).with_name("protocols.yaml")
Text = Annotated[str, Field(min_length=1)]


class Protocol(Config):
    """A way to measure an encoder."""

    name: Text
    family: Literal["fine-tuning", "frozen", "trained elsewhere"]
    """What becomes of the encoder: it is trained, it stays as it is, or it came with a head and is only scored."""
    recipes: tuple[Text, ...] = Field(min_length=1)
    """Patterns of the names of the recipes that follow it."""
    paper: Annotated[str, Field(pattern="^https://")]
    code: Text
    """Repository and files of the authors' program."""
    equals: Text
    """What ours equals there, and to which difference."""
    test: Annotated[str, Field(pattern=r"^tests/.+\.py::test_\w+$")]
    """The test that holds it."""
    differs: tuple[Text, ...]
    """What is known to differ."""

    def has(self, recipe: str) -> bool:
        """Tell whether a recipe follows this protocol."""
        return any(fnmatchcase(recipe, pattern) for pattern in self.recipes)


class _File(Config):
    protocols: tuple[Protocol, ...]


@cache
def load_protocols() -> Sequence[Protocol]:
    """Return all protocols, in the order of their file."""
    return validate(_File, read_yaml(FILE), str(FILE)).protocols
