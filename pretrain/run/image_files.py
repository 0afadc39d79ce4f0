"""The images of a pretraining: those that are trained on, and those that are held out. Light to import."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.runs.fingerprint import ARRAY_SUFFIXES, IMAGE_SUFFIXES, Fingerprint, find_images, fingerprint
from pretrain.recipe import PretrainRecipe


@dataclass(frozen=True)
class Files:
    """Image files below a root."""

    root: Path
    training: list[Path]
    held_out: list[Path]
    """Empty without `validation`."""
    fingerprint: Fingerprint


def find_files(recipe: PretrainRecipe, root: Path) -> Files:
    """Find the recipe's images. Raises UserError when a folder is not there or holds none.

    A share that is held out is drawn with a fixed seed, so that runs of all seeds are measured on the same images.
    """
    suffixes = IMAGE_SUFFIXES if recipe.encoder.in_chans in (1, 3) else ARRAY_SUFFIXES
    found, validation = find_images(root / recipe.data.split, suffixes), recipe.validation
    if validation is None:
        return Files(root, found, [], fingerprint(root, found))
    if validation.split is not None:
        if not (root / validation.split).is_dir():
            rule = f"a folder below {root}"
            remedy = "name another, or set validation=null to measure no loss on held-out images"
            raise UserError.about("validation.split", validation.split, rule, remedy)
        held_out = find_images(root / validation.split, suffixes)
        parts = {"validation": fingerprint(root, held_out).sha256}
        return Files(root, found, held_out, fingerprint(root, found, parts=parts))
    if len(found) < 2:
        rule = "a share of two images or more"
        raise UserError.about("validation.share", validation.share, rule, "set validation=null")
    count = min(max(1, round((validation.share or 0) * len(found))), len(found) - 1)
    chosen = set(random.Random(0).sample(range(len(found)), count))
    training = [file for position, file in enumerate(found) if position not in chosen]
    held_out = [found[position] for position in sorted(chosen)]
    return Files(root, training, held_out, fingerprint(root, found, images=len(training)))
