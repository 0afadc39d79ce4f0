"""The program whose verbs stages run. It stands above this room, which knows it by its name alone."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

PROGRAM = "mimbench.command"


def run_verb(argv: Sequence[str]) -> int:
    """Run a command of the program in this process; return its exit code."""
    code: int = import_module(PROGRAM).main(argv)
    return code


def import_for(argv: Sequence[str]) -> None:
    """Import what a command, or its first two words, will need once there is work."""
    import_module(PROGRAM).import_for(argv)
