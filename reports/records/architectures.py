"""What people call an architecture: our own name, timm's, and the one that papers use."""

from __future__ import annotations

import re
from functools import cache

from benchmarks.config import digest_of, recipe_names
from benchmarks.encoders import Architecture, find_architecture
from reports.text import count

SIZES = {"tiny": "T", "small": "S", "base": "B", "large": "L", "huge": "H", "giant": "g"}
FAMILIES = {"swin": "Swin", "swinv2": "SwinV2", "vit": "ViT", "beit": "ViT"}
TIMM_NAME = re.compile(rf"({'|'.join(FAMILIES)})_({'|'.join(SIZES)})_")


def architecture_name(architecture: Architecture) -> str:
    """Return our own name for an architecture where we have one, else timm's with a mark of its arguments.

    The image size has a column of its own and does not make another architecture.
    """
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


def backbone_name(architecture: Architecture) -> str | None:
    """Return what papers call a timm architecture, such as Swin-B; None where they have no name for it."""
    found = TIMM_NAME.match(architecture.name)
    return f"{FAMILIES[found[1]]}-{SIZES[found[2]]}" if found else None
