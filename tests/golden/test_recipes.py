"""No recipe changes without being seen."""

from __future__ import annotations

from tests.golden.recipes import FOLDER, resolved


def test_every_recipe_resolves_to_its_golden_file() -> None:
    texts = resolved()
    assert set(FOLDER.glob("*/*.yaml")) == set(texts), "run `python -m tests.golden.recipes`"
    drifted = [path.stem for path, text in texts.items() if path.read_text() != text]
    assert drifted == [], "if you meant it, run `python -m tests.golden.recipes` and say why in the commit"
