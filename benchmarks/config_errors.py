"""Turn pydantic's validation errors into field, value, rule, remedy."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from benchmarks.errors import UserError, did_you_mean, four_parts


def explain(schema: type[BaseModel], error: ValidationError, where: str, overrides: Sequence[str]) -> str:
    """Return one four-part paragraph per mistake found in `where`."""
    details = error.errors(include_url=False)
    wrong_inside = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    # pydantic calls a list too short whose items are wrong; the items say so themselves
    shown = [detail for detail in details if detail["type"] != "too_short" or detail["loc"] not in wrong_inside]
    paragraphs = [_one(schema, detail, overrides) for detail in shown]
    count = "1 mistake" if len(paragraphs) == 1 else f"{len(paragraphs)} mistakes"
    return f"{where}: {count}\n" + "\n".join(paragraphs)


def first_own_error(error: Exception) -> UserError | None:
    """Return the first UserError that a validator of ours raised, of the errors in a ValidationError; else None."""
    details = error.errors(include_url=False) if isinstance(error, ValidationError) else []
    return next((own for detail in details if isinstance(own := detail.get("ctx", {}).get("error"), UserError)), None)


def _one(schema: type[BaseModel], detail: ErrorDetails, overrides: Sequence[str]) -> str:
    path = _settable(schema, detail["loc"])
    if isinstance(own := detail.get("ctx", {}).get("error"), UserError):
        return str(own)
    field = ".".join(path) or "recipe"
    if detail["type"] == "union_tag_invalid":
        kinds = [member.model_fields["kind"].default for member in _models_at(schema, path)]
        tag = detail["ctx"]["tag"]
        return four_parts(f"{field}.kind", tag, f"one of {', '.join(kinds)}", did_you_mean(tag, kinds))
    if detail["type"] == "extra_forbidden":
        parents = _models_at(schema, path[:-1])
        chosen = [parent for parent in parents if _kind(parent) in detail["loc"]] or parents
        known = [info.alias or name for parent in chosen for name, info in parent.model_fields.items()]
        inner = _deeper(chosen, path)
        remedy = f"Did you mean {inner}?" if inner is not None else did_you_mean(path[-1], known)
        return four_parts(field, detail["input"], "no such field here", remedy)
    if detail["type"] == "missing":
        return four_parts(field, "(not given)", "required", _with_meaning(f"set {field}=...", schema, path))
    if detail["type"] in ("tuple_type", "list_type"):
        return four_parts(field, detail["input"], "a list", f"[{detail['input']}] is a list of one")
    rule = _in_words(detail)
    if detail["type"] == "string_type" and isinstance(detail["input"], dict) and isinstance(detail["loc"][-1], int):
        texts = " ".join(f"{key}={value}" for key, value in detail["input"].items())
        return four_parts(field, detail["input"], "text, not a mapping", f"write it without the colon: {texts}")
    if isinstance(detail["input"], dict):  # a rule over several fields names them itself
        return four_parts(field, "(several fields)", rule, "change one of the fields that the rule names")
    value = "" if detail["input"] is None else detail["input"]
    return four_parts(field, value, rule, _remedy(schema, path, field, overrides))


def _in_words(detail: ErrorDetails) -> str:
    """Return what pydantic asks for, in words for the person who wrote the file."""
    if detail["type"] == "too_short":
        return f"a list of at least {detail['ctx']['min_length']}"
    if detail["type"] in ("model_type", "dict_type"):
        return "a mapping of fields to values"
    if detail["type"] == "string_pattern_mismatch" and (words := PATTERNS.get(detail["ctx"]["pattern"])):
        return words
    return detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


PATTERNS = {r"^[A-Za-z0-9][A-Za-z0-9_-]*$": "letters, digits, - and _, with a letter or a digit first"}
"""What names have to look like: patterns in words."""


def _deeper(parents: Sequence[type[BaseModel]], path: Sequence[str]) -> str | None:
    """Return the field of that name which lies one level deeper, by its path; None where there is none, or several."""
    found = {
        ".".join([*path[:-1], name, path[-1]])
        for parent in parents
        for name, info in parent.model_fields.items()
        for inner in _members(info.annotation)
        if _is_model(inner) and path[-1] in inner.model_fields
    }
    return found.pop() if len(found) == 1 else None


def _settable(schema: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the path as far as an override can name it: a list is set as a whole, a union's tag is no field."""
    path: list[str] = []
    for part in location:
        if isinstance(part, int):
            break
        tags = [kind for model in _models_at(schema, path) if (kind := _kind(model)) is not None]
        if part != "[key]" and part not in tags:
            path.append(part)
    return path


def _kind(model: type[BaseModel]) -> str | None:
    """Return the tag of a union's member; None for a class that is no such member."""
    field = model.model_fields.get("kind")
    return None if field is None else field.default


def _remedy(schema: type[BaseModel], path: list[str], field: str, overrides: Sequence[str]) -> str:
    given = next((text for text in overrides if text.split("=", 1)[0] == field), None)
    start = f"change the override {given!r}" if given else f"change it in the file or add {field}=..."
    parent = _model_at(schema, path[:-1])
    info = parent.model_fields.get(path[-1]) if parent and path else None
    if info is not None and info.default not in (PydanticUndefined, None):
        start += f" (default {info.default!r})"
    return _with_meaning(start, schema, path)


def _with_meaning(remedy: str, schema: type[BaseModel], path: list[str]) -> str:
    """Return a remedy, and behind it what the field means, where its class says so."""
    parent = _model_at(schema, path[:-1])
    info = parent.model_fields.get(path[-1]) if parent and path else None
    if info is None or not info.description:
        return remedy
    return f"{remedy}{'' if remedy.endswith('.') else '.'} Meaning: {' '.join(info.description.split())}"


def _model_at(schema: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """Return the model class found by following field names from `schema`; the first member of a union."""
    return next(iter(_models_at(schema, path)), None)


def _models_at(schema: type[BaseModel], path: Sequence[str]) -> list[type[BaseModel]]:
    """Return the model classes that may stand at `path`."""
    options: list[Any] = [schema]
    for part in path:
        found = [
            option.model_fields[part].annotation
            for option in options
            if _is_model(option) and part in option.model_fields
        ]
        if not found:  # a list index or a mapping's key: stay with the members
            continue
        options = [member for annotation in found for member in _members(annotation)]
    return [option for option in options if _is_model(option)]


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType, dict, tuple, list):
        return [inner for argument in get_args(annotation) for inner in _members(argument)]
    return [annotation]


def _is_model(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)
