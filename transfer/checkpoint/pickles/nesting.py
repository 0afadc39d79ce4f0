"""How deep containers lie within each other, found without recursion: a crafted file may nest them without end."""

from __future__ import annotations

from collections.abc import Iterable

from transfer.checkpoint.pickles.pickle_names import Inert


def nesting(content: object, enough: int) -> int:
    """Return the greatest depth of containers within containers (a loop back into itself counts once).

    Exact up to `enough`; a search that is already deeper stops there.
    """
    depth: dict[int, int] = {}
    path = [(content, iter(children(content)))]
    on_path = {id(content)}
    while path:
        if len(path) > enough:
            return len(path)
        container, remaining = path[-1]
        for child in remaining:
            if is_container(child) and id(child) not in depth and id(child) not in on_path:
                path.append((child, iter(children(child))))
                on_path.add(id(child))
                break
        else:
            depth[id(container)] = 1 + max((depth.get(id(child), 0) for child in children(container)), default=0)
            on_path.discard(id(container))
            path.pop()
    return depth[id(content)]


def is_container(value: object) -> bool:
    return isinstance(value, dict | list | tuple | set | Inert)


def children(value: object) -> Iterable[object]:
    """Return what a container holds; nothing for a plain value. Keys and sets are shallow by construction."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set):
        return value
    if isinstance(value, Inert):
        return (value.args, value.state, value.entries, value.elements)
    return ()
