"""What tables call an architecture: our own name, or timm's."""

from __future__ import annotations

from functools import cache

from benchmarks.config import digest_of, recipe_names
from benchmarks.encoders import Architecture, find_architecture
from reports.text import count


def architecture_name(architecture: Architecture) -> str:
    """Return our own name for an architecture where we have one, else timm's with a mark of its arguments.

    The image size has a column of its own and does not make another architecture.
    """
    return _name(architecture.model_dump_json())


def architecture_digest(architecture: Architecture) -> str:
    """Return the digest of all of an architecture's fields; thousands of records share few architectures."""
    known = _DIGESTS.get(id(architecture))
    if known is None or known[0] is not architecture:
        if len(_DIGESTS) == MOST_DIGESTS:
            _DIGESTS.clear()
        known = _DIGESTS[id(architecture)] = (architecture, digest_of(architecture))
    return known[1]


MOST_DIGESTS = 2**10
_DIGESTS: dict[int, tuple[Architecture, str]] = {}


@cache
def _name(text: str) -> str:
    architecture = Architecture.model_validate_json(text)
    others = {name: value for name, value in architecture.arguments.items() if name != "img_size"}
    architecture = architecture.model_copy(update={"arguments": others})
    digest = digest_of(architecture)
    if digest in _our_names():
        return _our_names()[digest]
    changed = len(others) + (architecture.norm_eps is not None)
    return f"{architecture.name} ({count(changed, 'argument')}, {digest[:6]})" if changed else architecture.name


@cache
def _our_names() -> dict[str, str]:
    return {digest_of(find_architecture(name)): name for name in recipe_names("encoders")}
