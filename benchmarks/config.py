"""One recipe system: YAML data, checked by pydantic, overridden by `a.b=c`, identified by a digest.

A recipe is a YAML file, found by name under `benchmarks/recipes/` or by path. Files and overrides pass the same
validator; every error names the field, the value, the rule and the remedy.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, ValidationError

from benchmarks.config_errors import explain
from benchmarks.errors import UserError, did_you_mean, require_word
from benchmarks.files.json_files import path_from
from benchmarks.files.yaml_files import parse_yaml, read_yaml, to_yaml

Count = Annotated[int, Field(ge=0, le=2**53)]
"""A whole number that a float holds exactly."""
Amount = Annotated[float, Field(ge=0, le=1e24)]
Precision = Literal["fp32", "bf16", "fp16"]
RECIPES = Path(__file__).resolve().parent / "recipes"


def _as_a_path(text: str) -> str:
    path_from(text)
    return text


PathText = Annotated[str, AfterValidator(_as_a_path)]
"""A path as text, which a file system can have."""


class Config(BaseModel):
    """Base of every recipe and record: frozen; refuses unknown keys, NaN and infinity.

    The string below a field is its meaning in error messages.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def renewed(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Return what a file says in today's fields; a class whose fields have moved reads its older files by this, and
        calls this one for those of the configurations inside it."""
        kinds = {name: field.annotation for name, field in cls.model_fields.items() if isinstance(data.get(name), dict)}
        inner = {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Config)}
        return data | {name: kind.renewed(data[name]) for name, kind in inner.items()}

    def identity(self) -> dict[str, Any]:
        """Return the fields that say *what* is done: without those marked `placement()`, and without those marked
        `later()` that have their default value."""
        found = {}
        for name, field in type(self).model_fields.items():
            extra, value = field.json_schema_extra, getattr(self, name)
            marks = extra if isinstance(extra, dict) else {}
            if marks.get("placement") or (marks.get("later") and value == field.default):
                continue
            found[name] = _identity(value)
        return found

    def identity_digest(self) -> str:
        """Return the sha256 (hex) of `identity()`: equal digests mean the same work."""
        return digest_of(self.identity())

    def placement_fields(self) -> tuple[str, ...]:
        """Return the dotted names of the fields marked `placement()`, those of nested configurations included."""
        found: list[str] = []
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("placement"):
                value = getattr(self, name)
                inner = type(value).model_fields if isinstance(value, Config) else ()
                found += [f"{name}.{each}" for each in inner] or [name]
            else:
                found += [f"{name}.{inner}" for inner in _placement(getattr(self, name))]
        return tuple(found)

    def fields_beside_identity(self) -> tuple[str, ...]:
        """Return the dotted names of all fields that `identity()` leaves out."""
        return tuple(_missing(self.model_dump(), self.identity()))


def _missing(value: Any, kept: Any) -> Iterator[str]:
    """Yield the dotted names of what a nested dictionary has and `kept` has not."""
    for name, inner in value.items():
        if name not in kept:
            yield name
        elif isinstance(inner, dict) and isinstance(kept[name], dict):
            yield from (f"{name}.{one}" for one in _missing(inner, kept[name]))


def without_fields(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a nested dictionary without the fields of these dotted names."""
    found = {}
    for name, inner in values.items():
        if name in names:
            continue
        deeper = {one.removeprefix(f"{name}.") for one in names if one.startswith(f"{name}.")}
        found[name] = without_fields(inner, deeper) if isinstance(inner, dict) else inner
    return found


def _placement(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}.{name}" for key, inner in value.items() for name in _placement(inner)]
    return list(value.placement_fields()) if isinstance(value, Config) else []


def _identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _identity(inner) for key, inner in value.items()}
    return value.identity() if isinstance(value, Config) else value


def placement(default: Any, **kwargs: Any) -> Any:
    """Declare a field that says where or how to run (folder, workers, device), not what: it is left out of digests."""
    return Field(default=default, json_schema_extra={"placement": True}, **kwargs)


def later(default: Any, **kwargs: Any) -> Any:
    """Declare a field that came after runs were made: digests leave its default out, so that those runs keep their ids.

    The default must be what was done before the field was there.
    """
    return Field(default=default, json_schema_extra={"later": True}, **kwargs)


def kind_or(default: str) -> Discriminator:
    """Return what distinguishes the members of a union: their field `kind`, or `default` where it is not given.

    The members are `Annotated[Member, Tag("its kind")]`, and each has a field `kind` with that text as its default.
    """
    return Discriminator(
        lambda value: value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)
    )


def digest_of(value: Any) -> str:
    """Return the sha256 (hex) of a JSON-like value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


C = TypeVar("C", bound=Config)
C_co = TypeVar("C_co", bound=Config, covariant=True)


@dataclass(frozen=True)
class Recipe(Generic[C_co]):
    """A checked recipe with the name and the overrides that led to it."""

    name: str
    config: C_co
    overrides: tuple[str, ...]

    def to_yaml(self) -> str:
        """Return the fully resolved recipe; the text can be passed back in as a recipe file."""
        return to_yaml(self.config.model_dump(mode="json"))


@dataclass(frozen=True)
class Family(Generic[C_co]):
    """Recipes of several kinds in one folder: the recipe's own field `key` says which class checks it.

    A pydantic union would do the same, but its errors name the kind as if it were a field that one can set.
    """

    key: str
    kinds: Mapping[str, type[C_co]]
    default: str

    def member(self, data: Mapping[str, Any]) -> type[C_co]:
        """Return the class of a recipe's data. Raises UserError for an unknown kind."""
        value = data.get(self.key, self.default)
        if not isinstance(value, str) or value not in self.kinds:
            rule = f"one of {', '.join(self.kinds)}"
            raise UserError.about(self.key, value, rule, did_you_mean(str(value), self.kinds))
        return self.kinds[value]


def load_recipe(schema: type[C] | Family[C], folder: str, source: str, overrides: Sequence[str] = ()) -> Recipe[C]:
    """Load the recipe `source` (a name under `recipes/<folder>/` or a path) and apply `a.b=c` overrides.

    Raises UserError when the recipe is unknown, an override is malformed, or a value breaks a rule of the schema.
    """
    path = find_recipe(folder, source)
    data = apply_overrides(read_yaml(path), overrides)
    config = validate(schema_for(schema, data), data, f"recipe {source}", overrides)
    return Recipe(path.stem, config, tuple(overrides))


def schema_for(schema: type[C] | Family[C], data: Mapping[str, Any]) -> type[C]:
    """Return the class that checks a recipe's data. Raises UserError for an unknown kind of a family."""
    return schema.member(data) if isinstance(schema, Family) else schema


def find_recipe(folder: str, source: str) -> Path:
    """Return the file of a recipe given by name or by path. Raises UserError where there is none."""
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or "/" in source:
        if os.path.isfile(source):
            return path
        raise UserError.about("recipe", source, "a file that exists", "check the path")
    names = recipe_names(folder)
    require_word("recipe", source, names, f"a {folder} recipe's name, or the path of a YAML file")
    return RECIPES / folder / f"{source}.yaml"


def recipe_names(folder: str) -> list[str]:
    """Return the names of the recipes in `recipes/<folder>/`, sorted."""
    return sorted(path.stem for path in (RECIPES / folder).glob("*.yaml"))


def validate(schema: type[C], data: dict[str, Any], where: str, overrides: Sequence[str] = ()) -> C:
    """Check `data` against `schema` as JSON, so that YAML lists become tuples and nothing is coerced silently.

    Raises one UserError that names every mistake; `where` says in it what was checked.
    """
    try:
        return schema.model_validate_json(json.dumps(schema.renewed(data), default=str))
    except ValidationError as error:
        raise UserError(explain(schema, error, where, overrides)) from None


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `data` with every `a.b=c` set; `c` is read as YAML, so lists and numbers keep their type."""
    result: dict[str, Any] = json.loads(json.dumps(data, default=str))
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not all(key.split(".")):
            rule = "the form field.name=value, without spaces around ="
            raise UserError.about("override", override, rule, "for example training.epochs=50")
        _set(result, key.split("."), _value(override, text), override)
    return result


def _value(override: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except ValueError:
        raise UserError.about("override", override, "a value that YAML can read", "quote it: 'key=\"text\"'") from None


def _set(data: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for depth, key in enumerate(keys[:-1], start=1):
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            parent = ".".join(keys[:depth])
            rule = f"{parent} is a single value ({inner!r}) and has no fields"
            raise UserError.about("override", override, rule, f"set {parent}=... itself")
        data = inner
    data[keys[-1]] = value
