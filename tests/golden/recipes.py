"""Every named recipe, resolved, as files that show in a review what a change of a default changes.

`python -m tests.golden.recipes` writes them again.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.config import Recipe, load_recipe, recipe_names
from benchmarks.errors import UserError
from pretrain.recipe import PretrainRecipe
from transfer.adapter import ADAPTERS

FOLDER = Path(__file__).parent


def resolved() -> dict[Path, str]:
    """Return the text of every golden file."""
    return {path: recipe.to_yaml() for path, recipe in recipes().items()}


def recipes() -> dict[Path, Recipe[Any]]:
    """Return every named recipe by the path of its golden file."""
    found: dict[Path, Recipe[Any]] = {
        FOLDER / "pretrain" / f"{name}.yaml": load_recipe(PretrainRecipe, "pretrain", name)
        for name in recipe_names("pretrain")
    }
    return found | {FOLDER / "transfer" / f"{name}.yaml": _transfer(name) for name in recipe_names("transfer")}


def _transfer(name: str) -> Recipe[Any]:
    """Resolve a recipe for transfer by the kind of task that it is valid for."""
    errors = []
    for schema in _schemas():
        try:
            return load_recipe(schema, "transfer", name)
        except UserError as error:
            errors.append(str(error))
    raise AssertionError(f"{name} is valid for no kind of task:\n" + "\n".join(errors))


def _schemas() -> Iterator[Any]:
    for place in ADAPTERS.values():
        module, _, name = place.partition(":")
        yield getattr(importlib.import_module(module), name).recipe


def main() -> None:
    """Write every file, and remove those of recipes that are no more."""
    texts = resolved()
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for path in FOLDER.glob("*/*.yaml"):
        if path not in texts:
            path.unlink()


if __name__ == "__main__":
    main()
