"""What a person uses from Python, and the console command; a name's room is imported when the name is first used."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any


def _places() -> dict[str, str]:
    """Return the module of each name of this package, as `__init__.pyi` imports them for type checkers."""
    listed = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    imports = [each for each in listed if isinstance(each, ast.ImportFrom)]
    return {name.name: str(each.module) for each in imports for name in each.names}


_PLACES = _places()
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Return a name of this package, whose module is imported now; the command's own names are there as well."""
    command = import_module("mimbench.command")  # which refuses packages that hide our rooms
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name in vars(command):
        return getattr(command, name)
    raise AttributeError(f"module 'mimbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
