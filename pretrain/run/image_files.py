"""The images of a pretraining: those that are trained on, and those that are held out. Light to import."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.files.image_source import ImageFiles
from benchmarks.files.named_files import sha256_of
from benchmarks.runs.fingerprint import ARRAY_SUFFIXES, IMAGE_SUFFIXES, Fingerprint, find_images, fingerprint
from benchmarks.subset import Subset, find_list, listed
from pretrain.recipe import PretrainRecipe, Validation


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

    A share that is held out is drawn with a fixed seed, so that runs of all seeds are measured on the same images; and
    before a subset is, so that runs on a larger or smaller part of a data set are, too.
    """
    suffixes = IMAGE_SUFFIXES if recipe.encoder.in_chans in (1, 3) else ARRAY_SUFFIXES
    split, validation, subset = root / recipe.data.split, recipe.validation, recipe.data.subset
    training, held_out = find_images(split, suffixes), []
    parts: dict[str, str] = {}
    if validation is not None and validation.split is not None:
        if not (root / validation.split).is_dir():
            rule = f"a folder below {root}"
            remedy = "name another, or set validation=null to measure no loss on held-out images"
            raise UserError.about("validation.split", validation.split, rule, remedy)
        held_out = find_images(root / validation.split, suffixes)
        parts["validation"] = fingerprint(root, held_out).sha256
    elif validation is not None:
        training, held_out = _apart(training, validation)
    if subset is not None:
        file = find_list(root, subset.list)
        training = _part(root, split, training, subset, file)
        parts |= {"subset list": sha256_of(file)} if file is not None else {}
    shared = validation is not None and validation.share is not None
    covered = sorted([*training, *held_out]) if shared else training
    found = fingerprint(root, covered, images=len(training), parts=parts, sampled=training)
    return Files(root, training, held_out, found)


def _apart(found: list[Path], validation: Validation) -> tuple[list[Path], list[Path]]:
    """Return the images that are trained on and the share that is held out."""
    if len(found) < 2:
        rule = "a share of two images or more"
        raise UserError.about("validation.share", validation.share, rule, "set validation=null")
    count = min(max(1, round((validation.share or 0) * len(found))), len(found) - 1)
    chosen = set(random.Random(0).sample(range(len(found)), count))
    training = [file for position, file in enumerate(found) if position not in chosen]
    return training, [found[position] for position in sorted(chosen)]


def _part(root: Path, split: Path, found: list[Path], subset: Subset, file: Path | None) -> list[Path]:
    """Return the images of a subset, in the order of `found`; `file` is its list, if it has one.

    Of images in one folder a class, these are the images on which a transfer with the same subset trains. A folder may
    be left without any by a small fraction; all of them may not.
    """
    name = ImageFiles(root, found).name
    if file is not None:
        return [found[position] for position in listed(map(name, range(len(found))), file)]
    by_folder: dict[str, list[int]] = defaultdict(list)
    for position, path in enumerate(found):
        inner = path.relative_to(split).parts
        by_folder[inner[0] if len(inner) > 1 else ""].append(position)
    for folder, positions in by_folder.items():
        if subset.count(len(positions)) > len(positions):
            raise subset.too_many_or_none(positions, f"folder {split / folder}")
    chosen = sorted(position for positions in by_folder.values() for position in subset.draw(positions, name))
    if not chosen:
        raise subset.too_many_or_none(max(by_folder.values(), key=len), f"any folder below {split}")
    return [found[position] for position in chosen]
