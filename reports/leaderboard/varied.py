"""What recipes of one name have different: the members of a sweep, which a table would show alike."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.runs.record import RecipeUse

MOST_FIELDS = 4
"""Recipes that differ in more fields than these are told apart by their digests alone."""


def varied(recipes: Sequence[RecipeUse]) -> dict[str, str]:
    """Return, by recipe digest, the fields in which recipes of the same name differ, with this one's values.

    Fields that say where or how a recipe is run are no part of it, and so are left out.
    """
    by_name: dict[str, dict[str, RecipeUse]] = defaultdict(dict)
    for recipe in recipes:
        by_name[recipe.name][recipe.digest] = recipe
    found: dict[str, str] = {}
    for same in by_name.values():
        fields = {digest: dict(_fields(recipe)) for digest, recipe in same.items()}
        names = sorted(set().union(*fields.values()))
        differing = [name for name in names if len({values.get(name) for values in fields.values()}) > 1]
        if len(same) > 1 and len(differing) <= MOST_FIELDS:
            for digest, values in fields.items():
                found[digest] = ", ".join(f"{name}={values.get(name, 'null')}" for name in differing)
    return found


def _fields(recipe: RecipeUse) -> Iterator[tuple[str, str]]:
    for name, value in _flat(recipe.resolved, ""):
        if not any(name == place or name.startswith(f"{place}.") for place in recipe.placement):
            yield name, value


def _flat(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield every value that is no mapping as JSON, under its dotted name."""
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(inner, sort_keys=True)
