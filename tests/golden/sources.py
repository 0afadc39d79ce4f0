"""The values of published recipes, as `sources.csv` has them with the file, commit and place of each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from tests.golden.recipes import FOLDER, recipes

Values = dict[str, str]


def sources() -> dict[str, Values]:
    found: dict[str, Values] = {}
    with (FOLDER / "sources.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["source"], {})[row["key"]] = row["value"]
    return found


SOURCES = sources()


RECIPES = {path.stem: recipe.config.model_dump(mode="json") for path, recipe in recipes().items()}


def at(recipe: Mapping[str, Any], path: str) -> Any:
    value: Any = recipe
    for name in path.split("."):
        value = value[name]
    return value


def assert_has(name: str, expected: Mapping[str, Any]) -> None:
    found = {path: at(RECIPES[name], path) for path in expected}
    assert found == dict(expected)
