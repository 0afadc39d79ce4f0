"""Completion in the shell: `eval "$(register-python-argcomplete mimbench)"` in ~/.bashrc or ~/.zshrc.

The shell runs `mimbench` with the line that is typed in its environment. The verb is then run as far as its parser, and
argcomplete answers from that in the place of the work.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import argcomplete

_PARSING = {
    name: getattr(argparse.ArgumentParser, name) for name in ("parse_known_args", "parse_known_intermixed_args")
}


def complete(verbs: Mapping[str, tuple[str, str]], run: Callable[[str, list[str]], int]) -> None:
    """Answer the shell, and end the process. `verbs` have their modules; `run` runs one with its arguments."""
    words = argcomplete.lexers.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3][1:]
    if not words or words[0] not in verbs:
        _answer(_choice("mimbench", verbs))
    commands = getattr(import_module(verbs[words[0]][0]), "COMMANDS", None)
    if len(words) == 1 and commands is not None:  # each has a parser of its own
        _answer(_choice(f"mimbench {words[0]}", commands))
    for name in _PARSING:
        setattr(argparse.ArgumentParser, name, _answer)
    run(words[0], words[1:])


def _choice(program: str, names: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program)
    parser.add_argument("name", choices=list(names))
    return parser


def _answer(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
    """Print what may follow, as the parser sees it, and end the process."""
    for name, parse in _PARSING.items():  # which argcomplete itself needs
        setattr(argparse.ArgumentParser, name, parse)
    _add_names(parser)
    os.environ["_ARGCOMPLETE"] = str(len(parser.prog.split()))  # where the parser's own words begin
    argcomplete.autocomplete(parser, always_complete_options="long")
    raise SystemExit(0)


def _add_names(parser: argparse.ArgumentParser) -> None:
    """Let the names of tasks, recipes and pipelines be completed where they may stand."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _add_names(each)
        find = NAMES.get(str(action.metavar))
        names = None if find is None else find(parser.prog)
        if names is not None:  # else argcomplete's own: choices, or files
            action.completer = argcomplete.ChoicesCompleter(dict.fromkeys(names, ""))  # type: ignore[attr-defined]


def _tasks(_: str) -> Sequence[str]:
    from benchmarks.catalogue.tasks import TASKS

    return list(TASKS)


def _recipes(program: str) -> Sequence[str]:
    from benchmarks.config import recipe_names

    return recipe_names("pretrain" if program in ("mimbench pretrain", "mimbench bench") else "transfer")


def _pipelines(program: str) -> Sequence[str] | None:
    if not program.startswith("mimbench pipeline"):
        return None
    from slurm.graph.shipped import shipped_pipelines

    return [*shipped_pipelines(), *map(str, Path().glob("*.y*ml"))]


NAMES: dict[str, Callable[[str], Sequence[str] | None]] = {"TASK": _tasks, "RECIPE": _recipes, "FILE": _pipelines}
"""By placeholder, what returns the names that may stand there, given the program; None for argcomplete's own."""
