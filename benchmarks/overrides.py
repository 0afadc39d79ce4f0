"""Overrides of recipes as Python's values, in the form in which commands have them: `a.b=c`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from benchmarks.errors import UserError
from benchmarks.files.yaml_files import parse_yaml

Overrides: TypeAlias = Mapping[str, object] | Sequence[str]
"""Fields of a recipe to set: `{"training.epochs": 50}`, or texts, as `["training.epochs=50"]`."""


def override_texts(overrides: Overrides, data: str | Path | None = None) -> tuple[str, ...]:
    """Return overrides as texts; `data`, where it is given, is the recipe's `data.root`.

    Raises UserError where the overrides set that, too.
    """
    if isinstance(overrides, Mapping):
        texts = [f"{name}={_as_text(value)}" for name, value in overrides.items()]
    else:
        texts = [overrides] if isinstance(overrides, str) else list(overrides)
    if data is None:
        return tuple(texts)
    twice = next((text for text in texts if text.startswith("data.root=")), None)
    if twice is not None:
        raise UserError.about(
            "--data", data, f"where the data lie, said once (beside {twice})", "leave one of them out"
        )
    return (*texts, f"data.root={_as_text(data)}")


def _as_text(value: object) -> str:
    """Return a value as text that YAML reads as that value; a text that it reads as itself stays plain."""
    text = str(value) if isinstance(value, Path | str) else None
    if text is None:
        return json.dumps(value, default=str)
    try:
        plain = parse_yaml(text) == text
    except ValueError:
        plain = False
    return text if plain else json.dumps(text)
