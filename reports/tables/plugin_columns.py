"""The columns that other packages add to every table."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

from benchmarks import plugins
from reports.leaderboard.lines import Measured
from reports.tables.cells import Parts
from reports.tables.column import Column


def plugin_columns(taken: Container[str]) -> list[Column]:
    """Return the columns of plugins, whose fields have other names than those that are `taken`."""

    def check(plugin: plugins.Plugin, column: Column) -> None:
        for field in column.fields:
            if field.name in taken:
                raise plugin.wrong(f"a column of fields that no other has ({field.name} is mimbench's own)")

    return [
        replace(column, parts=_named(plugin, column.parts)) for plugin, column in plugins.working("columns", (), check)
    ]


def _named(plugin: plugins.Plugin, parts: Callable[[Measured], Parts]) -> Callable[[Measured], Parts]:
    """Return the function that makes a column's parts, whose errors name the plugin."""

    def made(entry: Measured) -> Parts:
        try:
            return parts(entry)
        except Exception as error:
            raise plugin.wrong(f"a column of every measured row ({type(error).__name__}: {error})") from error

    return made
