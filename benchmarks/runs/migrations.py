"""Records as this version or an older one wrote them, in today's fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pydantic_core
from pydantic import ValidationError

from benchmarks.runs.record import NEWEST_SCHEMA, RunRecord

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda data: {**data, "schema_version": 2, "processes": 1},
    2: lambda data: {**data, "schema_version": 3},  # seconds_per_step and flops_per_image were not measured
    3: lambda data: {**data, "schema_version": 4, "recipe": _with_placement(data.get("recipe"))},
}
"""By schema version, the function that makes a record of the next version of it."""


PLACEMENT_OF_3 = {
    "": {"activation_checkpointing", "views_at_once", "export_epochs"},
    "data": {
        *("root", "format", "classes", "first_label", "label_field", "image_column", "label_column", "labels"),
        *("accepted", "train_labels", "test_labels", "index_folder", "list", "train_list", "test_list", "decoder"),
    },
    "training": {
        *("accumulate", "device", "workers", "log_every_steps", "tensorboard", "checkpoint_every_steps"),
        *("sharded", "activation_checkpointing", "compile"),
    },
    "inference": {"batch_size", "device", "workers"},
    "testing": {"save_predictions"},
    "target": {"palette", "tokenizer"},
}
"""The placement fields of the recipes of schema version 3, by the recipe's section; later records name their own."""


def _with_placement(recipe: Any) -> Any:
    """Return a recipe of schema version 3 with the names of its placement fields."""
    if not isinstance(recipe, dict) or not isinstance(recipe.get("resolved"), dict):
        return recipe
    resolved: dict[str, Any] = recipe["resolved"]
    found = [name for name in resolved if name in PLACEMENT_OF_3[""]]
    for section in filter(None, PLACEMENT_OF_3):
        found += [name for name in _names(resolved.get(section), section) if _last(name) in PLACEMENT_OF_3[section]]
    return {**recipe, "placement": found}


def _names(value: Any, prefix: str) -> Iterator[str]:
    """Yield the dotted names of the fields of a JSON object, those of nested objects included."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from _names(inner, f"{prefix}.{name}") if isinstance(inner, dict) else [f"{prefix}.{name}"]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


class RepeatedName(ValueError):
    """A name that stands twice in one object."""


class NewerSchema(ValueError):
    """A record of a schema version that this program does not know yet."""


def parse_record(text: bytes) -> RunRecord:
    """Return a record as it was written by this version or an older one.

    Raises NewerSchema, pydantic's ValidationError for what is no record, and ValueError where a name stands twice in an
    object: readers of other programs may take the other value.
    """
    record = _parsed(text)
    if record.model_dump_json(indent=2).encode() != text:  # what this version wrote is the very text
        json.loads(text, object_pairs_hook=_each_once)
    return record


def _parsed(text: bytes) -> RunRecord:
    try:
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        data = _json_object(text)
        version = data.get("schema_version")
        if isinstance(version, int) and version > NEWEST_SCHEMA:
            raise NewerSchema(f"version {version}; this mimbench reads up to {NEWEST_SCHEMA}: update it") from None
        if not isinstance(version, int) or version not in MIGRATIONS:
            raise error from None
    while data["schema_version"] in MIGRATIONS:
        data = MIGRATIONS[data["schema_version"]](data)
    return RunRecord.model_validate_json(json.dumps(data))


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedName(f"{twice!r} stands there twice")
    return found


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        data = pydantic_core.from_json(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
