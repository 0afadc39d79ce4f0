"""Overrides of recipes as Python's values, in the form in which commands have them: `a.b=c`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from benchmarks.errors import UserError
from benchmarks.files.yaml_files import parse_yaml

Overrides: TypeAlias = Mapping[str, object] | Sequence[str]
"""Fields of a recipe to set: `{"training.epochs": 50}`, or texts, as `["training.epochs=50"]`."""


def override_texts(overrides: Overrides, data: str | Path | None = None) -> tuple[str, ...]:
    """Return overrides as texts; `data`, where it is given, is the recipe's `data.root`.

    Raises UserError where the overrides set that, too, and for what is neither a mapping nor a list of texts.
    """
    if isinstance(overrides, Mapping):
        texts = [f"{name}={_as_text(value)}" for name, value in overrides.items()]
    else:
        texts = [overrides] if isinstance(overrides, str) else _listed(overrides)
    if data is None:
        return tuple(texts)
    twice = next((text for text in texts if text.startswith("data.root=")), None)
    if twice is not None:
        raise UserError.about(
            "--data", data, f"where the data lie, said once (beside {twice})", "leave one of them out"
        )
    return (*texts, f"data.root={_as_text(path_text('data', data))}")


def path_text(field: str, value: object) -> str:
    """Return a path, or a reference to an encoder, as a command has it: `~` is the home folder, as in a shell.

    Raises UserError for what is neither text nor a path, and for an empty text.
    """
    rule = "a path, as text or as pathlib.Path"
    if not isinstance(value, str | Path):
        remedy = "of what a call gave back, RESULT.folder is the run and RESULT.encoder what it exported"
        raise UserError.about(field, f"an object of type {type(value).__name__}", rule, remedy)
    if value == "":
        raise UserError.about(field, value, rule, "is it a variable that was never set? '.' is the folder you are in")
    return os.path.expanduser(value)


def _listed(overrides: object) -> list[str]:
    """Return a list of texts. Raises UserError for what is none."""
    given = list(overrides) if isinstance(overrides, Iterable) else [overrides]
    found = [each for each in given if isinstance(each, str)]
    if len(found) < len(given):
        remedy = 'for example {"training.epochs": 50}, or ["training.epochs=50"]'
        raise UserError.about("overrides", repr(overrides), "a mapping of fields to values, or a list of texts", remedy)
    return found


def _as_text(value: object) -> str:
    """Return a value as text that YAML reads as that value; a text that it reads as itself stays plain."""
    text = str(value) if isinstance(value, Path | str) else None
    if text is None:
        return json.dumps(value, default=lambda each: each.item() if hasattr(each, "item") else str(each))
    try:
        plain = parse_yaml(text) == text
    except ValueError:
        plain = False
    return text if plain else json.dumps(text)
