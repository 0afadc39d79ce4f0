"""Config files of others as data: a Python config's assignments are read as values, and no statement of it is run.

mmengine executes a Python config. Here it is only parsed: constants, lists, tuples, dicts, `dict(a=1)` and names that
were assigned before it are values; whatever else is assigned has none, which is an error where the value is needed.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.errors import UserError
from benchmarks.files.json_files import read_json
from benchmarks.files.regular import regular
from benchmarks.files.yaml_files import read_yaml

LARGEST_BYTES = 2**20
MOST_VALUES = 100_000
"""The most values of one file, with every name written out."""
DEEPEST = 50
MOST_FILES = 50
BASE, DELETE = "_base_", "_delete_"
READ = "assignments of constants, lists, tuples and dicts: a config of others is read as data, and never run"
DUMP = (
    'where you trust the file, let mmengine write it out: python -c "from mmengine import Config; '
    "Config.fromfile('CONFIG.py').dump('CONFIG.json')\", and give that"
)


@dataclass(frozen=True)
class NoValue:
    """Stands for an expression that is no literal."""

    where: str
    """The file and the line."""


def read_config(path: Path) -> dict[str, Any]:
    """Return what a config (.py, .yaml, .json) says, on top of the files that its `_base_` names.

    Raises UserError for a file that is no such config, with its name and line.
    """
    return _Files().read(path)


def parse_config(text: str, where: str) -> dict[str, Any]:
    """Return the values that the text of a Python config assigns; expressions that are no literals are `NoValue`.

    Raises UserError for any other statement, and for a call of anything but `dict`.
    """
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError.about("config", f"{where}: {type(error).__name__}: {error}", READ, "correct the file") from None
    values = _Values(where)
    for statement in module.body:
        values.take(statement)
    return values.names


def require_values(value: Any, field_name: str) -> None:
    """Raise UserError, with file and line, where a part of a config is no literal."""
    if isinstance(value, NoValue):
        raise UserError.about(field_name, f"(an expression in {value.where})", READ, DUMP)
    for key, inner in value.items() if isinstance(value, dict) else ():
        require_values(inner, f"{field_name}.{key}")
    for number, inner in enumerate(value if isinstance(value, list | tuple) else ()):
        require_values(inner, f"{field_name}[{number}]")


@dataclass
class _Values:
    """Turns the statements of one file into values."""

    where: str
    names: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def take(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return  # a docstring
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                self._refuse_calls(statement)
                self.names[target.id] = self.value(statement.value, 1)
                return
        raise self._refused(statement)

    def _refuse_calls(self, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id == "dict"):
                raise self._refused(node)

    def _refused(self, node: ast.AST) -> UserError:
        try:
            shown = ast.unparse(node).splitlines()[0][:80]
        except RecursionError:
            shown = type(node).__name__
        return UserError.about("config", f"{self._at(node)}: {shown}", READ, DUMP)

    def _at(self, node: ast.AST) -> str:
        return f"{self.where}, line {getattr(node, 'lineno', '?')}"

    def value(self, node: ast.expr, depth: int) -> Any:
        """Return the value of an expression. Raises UserError where the file holds too many, or too deep ones."""
        self._note(1, depth, node)
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str()):
                return node.value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.List():
                return [self.value(each, depth + 1) for each in node.elts]
            case ast.Tuple():
                return tuple(self.value(each, depth + 1) for each in node.elts)
            case ast.Dict() | ast.Call():
                return self._mapping(node, depth)
            case ast.Name() if node.id in self.names:
                self._note(_count(self.names[node.id]), depth, node)
                return copy.deepcopy(self.names[node.id])
        return NoValue(self._at(node))

    def _mapping(self, node: ast.Dict | ast.Call, depth: int) -> Any:
        """Return the dict of a display `{...}`, or of a call `dict({...}, key=...)`."""
        pairs: list[tuple[Any, ast.expr]]
        if isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            pairs = list(zip(keys, node.values, strict=True))
        else:
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        if not all(isinstance(key, str | int) for key, _ in pairs):
            return NoValue(self._at(node))
        found = self._positional(node, depth) if isinstance(node, ast.Call) else {}
        if not isinstance(found, dict):
            return NoValue(self._at(node))
        return found | {key: self.value(inner, depth + 1) for key, inner in pairs}

    def _positional(self, node: ast.Call, depth: int) -> Any:
        if not node.args:
            return {}
        return self.value(node.args[0], depth + 1) if len(node.args) == 1 else None

    def _note(self, values: int, depth: int, node: ast.AST) -> None:
        self.count += values
        if self.count > MOST_VALUES or depth > DEEPEST:
            rule = f"at most {MOST_VALUES:,} values with names written out, and {DEEPEST} levels"
            raise UserError.about("config", self._at(node), rule, "take the config of one model")


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_count, value.values()))
    return 1 + sum(map(_count, value)) if isinstance(value, list | tuple) else 1


@dataclass
class _Files:
    """Reads a config with those that it is based on."""

    left: int = MOST_FILES

    def read(self, path: Path, depth: int = 1) -> dict[str, Any]:
        self.left -= 1
        if self.left < 0 or depth > DEEPEST:
            rule = f"at most {MOST_FILES} files, none of which is based on itself"
            raise UserError.about(BASE, str(path), rule, "correct the config's _base_")
        config = _read_file(path)
        bases = config.pop(BASE, [])
        names = [bases] if isinstance(bases, str) else bases
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
            raise UserError.about(f"{BASE} of {path}", repr(bases)[:80], "the paths of config files", DUMP)
        merged: dict[str, Any] = {}
        for name in names:
            merged |= self.read(path.parent / name, depth + 1)
        return _laid_over(merged, config)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        if path.suffix in (".yaml", ".yml"):
            found: Any = read_yaml(regular(path))
        elif path.suffix == ".json":
            found = read_json(path)
        elif path.suffix == ".py":
            with regular(path).open("rb") as file:
                data = file.read(LARGEST_BYTES + 1)
            if len(data) > LARGEST_BYTES:
                raise ValueError(f"more than {LARGEST_BYTES:,} bytes")
            found = parse_config(data.decode(), str(path))
        else:
            raise ValueError("its name ends in none of .py, .yaml, .yml, .json")
    except OSError as error:
        rule = "a file that exists and may be read"
        raise UserError.about("config", str(path), rule, f"check the path ({error.strerror or error})") from None
    except UserError:
        raise
    except ValueError as error:
        raise UserError.about("config", str(path), f"a config file ({error})", "correct the file") from None
    if not isinstance(found, dict):
        raise UserError.about("config", str(path), "a mapping of names to values", "correct the file")
    return found


def _laid_over(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with what `config` says: dicts are merged, unless they say `_delete_`, all else is replaced.

    Source: mmengine `config/config.py`, `Config._merge_a_into_b`.
    """
    found = dict(base)
    for key, value in config.items():
        below = found.get(key)
        if isinstance(value, dict):
            kept = below if isinstance(below, dict) and not value.get(DELETE) else {}
            value = _laid_over(kept, {name: inner for name, inner in value.items() if name != DELETE})
        found[key] = value
    return found
