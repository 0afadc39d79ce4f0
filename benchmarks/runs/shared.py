"""Thousands of records in little memory: what many have alike, such as recipe and environment, is held once."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from benchmarks.runs.record import RunRecord

SECTIONS = ("task", "encoder", "load_report", "recipe", "data", "environment")
"""The parts of a record that runs of one study have alike."""
MOST_MET = 2**12
"""How many parts are known again by where they lie in memory, before they are known only by what they say."""


class SharedParts:
    """Parts of the records that were read so far."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], BaseModel] = {}
        self._met: dict[int, tuple[BaseModel, BaseModel]] = {}  # holds the part, so that no other gets its `id()`
        self._fields: dict[frozenset[str], set[str]] = {}

    def of(self, record: RunRecord) -> RunRecord:
        """Return the record, which nobody else holds yet, with equal parts of earlier ones in the place of its own."""
        self._share(record, SECTIONS)
        return record

    def _share(self, whole: BaseModel, names: Sequence[str]) -> None:
        values = whole.__dict__  # it is frozen to all who are given it
        for name in names:
            part = values[name]
            if part is None:
                continue
            if id(part) not in self._met:
                if len(self._met) == MOST_MET:
                    self._met.clear()
                self._met[id(part)] = (part, self._held(name, part))
            values[name] = self._met[id(part)][1]
        given = frozenset(whole.model_fields_set)
        object.__setattr__(whole, "__pydantic_fields_set__", self._fields.setdefault(given, set(given)))

    def _held(self, name: str, part: BaseModel) -> BaseModel:
        key = (name, part.model_dump_json())
        if key not in self._parts:
            self._parts[key] = part
            if name == "encoder":
                self._share(part, ("architecture", "images", "code"))
        return self._parts[key]
