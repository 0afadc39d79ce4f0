"""What other packages add through entry points: tasks, encoder families, checkpoint layouts, report columns, callbacks.

The tables of this program come first: nothing of a plugin takes the place of what is in them. A plugin's code is
imported when what it adds is used or listed, and only its metadata are read before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar, get_args

from benchmarks import ranks
from benchmarks.errors import UserError, did_you_mean

Group = Literal["tasks", "families", "layouts", "columns", "callbacks"]
T = TypeVar("T")

KINDS: Mapping[Group, str] = {
    "tasks": "benchmarks.catalogue.task:Task",
    "families": "benchmarks.families.family:Family",
    "layouts": "transfer.checkpoint.layouts.layout:Layout",
    "columns": "reports.tables.column:Column",
    "callbacks": "benchmarks.engine.track.callback:Callback",
}
"""The class of what each group adds; of families and callbacks, it is the class from which theirs derive."""
_CLASSES = ("families", "callbacks")
_OF_OTHERS = ("benchmarks", "timm", "torch", "torchvision")
"""Whose models keep the families that they have."""


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `mimbench.GROUP`."""

    group: Group
    name: str
    package: str
    version: str
    entry: EntryPoint = field(compare=False)

    @property
    def where(self) -> str:
        return f"{self.package} {self.version}"

    def wrong(self, rule: str) -> UserError:
        """Return the error that names the package, the entry point, and the rule that it breaks."""
        about = f"plugin {self.name} (mimbench.{self.group}) of {self.where}"
        remedy = f"ask those who make {self.package}, or pip uninstall {self.package}"
        return UserError.about(about, self.entry.value, rule, remedy)

    def load(self) -> Any:
        """Import what the plugin adds. Raises UserError where that fails, or is of another kind than the group's."""
        try:
            found = self.entry.load()
        except (Exception, SystemExit) as error:
            raise self.wrong(f"one that can be imported ({type(error).__name__}: {error})") from error
        kind = KINDS[self.group]
        as_class = self.group in _CLASSES
        mro = found.__mro__ if as_class and isinstance(found, type) else () if as_class else type(found).__mro__
        if kind not in {f"{each.__module__}:{each.__qualname__}" for each in mro}:
            what = "a class that derives from" if as_class else "an object of"
            raise self.wrong(f"{what} {kind} (it is {type(found).__name__})")
        if self.group == "families" and found.kind.__module__.partition(".")[0] in _OF_OTHERS:
            raise self.wrong(f"a family of models of the package's own (not of {found.kind.__name__})")
        if getattr(found, "name", self.name) != self.name and self.group in ("tasks", "layouts"):
            raise self.wrong(f"under the name that it has itself ({found.name})")
        return found


@cache
def installed(group: Group) -> tuple[Plugin, ...]:
    """Return what packages add to a group, by name, unread: their code is not imported."""
    found = [
        Plugin(group, each.name, each.dist.name, each.dist.version, each)
        for each in entry_points(group=f"mimbench.{group}")
        if each.dist is not None
    ]
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.package)))


def every() -> list[Plugin]:
    """Return the plugins of all groups."""
    return [plugin for group in get_args(Group) for plugin in installed(group)]


def strays() -> list[tuple[str, str, str, str, str]]:
    """Return what packages add to groups that mimbench has not: group, name, package, version, and what is wrong."""
    groups = {whole.removeprefix("mimbench.") for whole in entry_points().groups if whole.startswith("mimbench.")}
    return [
        (group, each.name, each.dist.name, each.dist.version, f"no group of mimbench's. {did_you_mean(group, KINDS)}")
        for group in sorted(groups - KINDS.keys())
        for each in entry_points(group=f"mimbench.{group}")
        if each.dist is not None
    ]


_USED: dict[str, str] = {}
_LOADED: dict[Plugin, Any] = {}
_WARNED: set[Plugin] = set()


def begin() -> None:
    """Begin a run: what was used before belongs to others."""
    _USED.clear()


def forget() -> None:
    """Forget what was loaded, used, and warned of, as a test needs it that changes what is installed."""
    installed.cache_clear()
    for known in (_USED, _LOADED, _WARNED):
        known.clear()


def used() -> dict[str, str]:
    """Return the versions of the packages whose plugins were used since `begin`, by their names."""
    return dict(sorted(_USED.items()))


def use(plugin: Plugin) -> Any:
    """Return what a plugin adds, and note that it is used. Raises what `Plugin.load` raises."""
    if plugin not in _LOADED:
        _LOADED[plugin] = plugin.load()
    _USED[plugin.package] = plugin.version
    return _LOADED[plugin]


def named(group: Group, name: str) -> Plugin | None:
    """Return the plugin of that name; None for none. Raises UserError where two packages add the name."""
    found = [plugin for plugin in installed(group) if plugin.name == name]
    if len(found) > 1:
        raise found[1].wrong(f"the only one of its name ({found[0].where} adds it as well)")
    return found[0] if found else None


class Extended(MutableMapping[str, T]):
    """A table of this program, by name, and behind its entries those that plugins add to its group.

    What is asked for by name is loaded alone. In listing, plugins that cannot be loaded are left out with a warning.
    """

    def __init__(self, group: Group, own: Mapping[str, T]) -> None:
        self.group, self.own = group, dict(own)

    def __getitem__(self, name: str) -> T:
        if name in self.own:
            return self.own[name]
        plugin = named(self.group, name)
        if plugin is None:
            raise KeyError(name)
        found: T = use(plugin)
        return found

    def __setitem__(self, name: str, value: T) -> None:
        self.own[name] = value

    def __delitem__(self, name: str) -> None:
        del self.own[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or any(plugin.name == name for plugin in installed(self.group))

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (plugin.name for plugin, _ in working(self.group, self.own))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def state_of(plugin: Plugin, own: Container[str] = ()) -> str:
    """Return "ok", or in words what is wrong with a plugin; `own` are the names that the program has itself."""
    try:
        _sound(plugin, own)
    except UserError as error:
        return str(error)
    return "ok"


def _sound(plugin: Plugin, own: Container[str]) -> Any:
    """Return what a plugin adds, without noting a use. Raises UserError where it cannot be taken."""
    if plugin.name in own:
        raise plugin.wrong("under a name that is not mimbench's own, whose entry stays as it is")
    named(plugin.group, plugin.name)
    if plugin not in _LOADED:
        _LOADED[plugin] = plugin.load()
    return _LOADED[plugin]


def required(group: Group, name: str, field: str) -> Any:
    """Return what the plugin of that name adds, and note its use. Raises UserError where no package adds it."""
    plugin = named(group, name)
    if plugin is None:
        known = ", ".join(each.name for each in installed(group)) or "none"
        rule = f"{group} that an installed package adds ({known})"
        raise UserError.about(field, name, rule, "install that package, or leave the name out")
    return use(plugin)


def working(
    group: Group, own: Container[str], check: Callable[[Plugin, Any], None] = lambda _plugin, _found: None
) -> list[tuple[Plugin, Any]]:
    """Return the plugins of a group that can be taken, and what each adds; of others, warn once on stderr.

    `own` are the names that the program has itself; `check` raises UserError for what it cannot take.
    """
    found = []
    for plugin in installed(group):
        try:
            added = _sound(plugin, own)
            check(plugin, added)
            found.append((plugin, added))
        except UserError as error:
            if plugin not in _WARNED and ranks.is_main():
                print(f"warning: left out: {error}", file=sys.stderr, flush=True)
            _WARNED.add(plugin)
    return found
