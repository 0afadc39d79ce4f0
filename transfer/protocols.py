"""Kinds of task with several protocols, each of which is run by something of its own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

from benchmarks.config import Config
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer

Protocols = Mapping[str, tuple[type[Config], str]]
"""For each protocol its recipe, and as MODULE:NAME its problem for the training loop, or a function where nothing is
trained."""


class OfProtocols:
    """The part of an adapter that runs what the recipe's field `protocol` names; its module is imported only then."""

    protocols: ClassVar[Protocols]

    def problem(self, recipe: Any) -> type[Any] | None:
        found = self._what_runs(recipe)
        return found if isinstance(found, type) else None

    def run(self, transfer: Transfer) -> RunRecord:
        from transfer.run import train_transfer  # torch, only now that there is work

        found = self._what_runs(transfer.work.config)
        record: RunRecord = train_transfer(transfer, found) if isinstance(found, type) else found(transfer)
        return record

    def _what_runs(self, recipe: Any) -> Any:
        place = next(place for kind, place in self.protocols.values() if type(recipe) is kind)
        module, _, name = place.partition(":")
        return getattr(importlib.import_module(module), name)
