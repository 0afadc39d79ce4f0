"""The images of a pretraining: those that are trained on, and those that are held out. Light to import."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.data.files import IndexedFiles
from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.data.forms.place import Place
from benchmarks.data.forms.unlabelled import read_unlabelled
from benchmarks.data.found import ARRAYS, IMAGES
from benchmarks.data.image_source import ImageFiles, ImageSource
from benchmarks.data.remote.paths import RemotePath
from benchmarks.errors import UserError
from benchmarks.files.named_files import sha256_of
from benchmarks.subset import Subset, find_list, listed
from pretrain.recipe import PretrainRecipe, Validation

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """Images below a root."""

    root: Path
    training: ImageSource
    held_out: ImageSource | None
    """None without `validation`."""
    fingerprint: Fingerprint


def find_images(recipe: PretrainRecipe, root: Path) -> Images:
    """Find the recipe's images. Raises UserError when a folder is not there or holds none.

    A share that is held out is drawn with a fixed seed, so that runs of all seeds are measured on the same images; and
    before a subset is, so that runs on a larger or smaller part of a data set are, too.
    """
    data, validation, subset = recipe.data, recipe.validation, recipe.data.subset
    whole, held_out = _read(root, data.split, recipe), None
    chosen: NDArray[Any] | None = None
    out: NDArray[Any] | None = None
    parts: dict[str, str] = {}
    if validation is not None and validation.split is not None:
        held_out = _validation_split(root, validation.split, recipe)
        parts["validation"] = fingerprint(root, held_out.files, images=len(held_out)).sha256
    elif validation is not None:
        chosen, out = _apart(len(whole), validation)
        held_out = whole.select(out)
    if subset is not None:
        file = find_list(root, subset.list)
        chosen = _part(root, data.split, whole, chosen, subset, file)
        parts |= {"subset list": sha256_of(file)} if file is not None else {}
    training = whole if chosen is None else whole.select(chosen)
    covered = _covered(whole, training, chosen, out, every=subset is None)
    sampled = training.files if isinstance(training, ImageFiles) else ()
    found = fingerprint(root, covered, images=len(training), parts=parts, sampled=sampled)
    return Images(root, training, held_out, found)


def _read(root: Path, split: str, recipe: PretrainRecipe) -> ImageSource:
    kind, data = IMAGES if recipe.encoder.in_chans in (1, 3) else ARRAYS, recipe.data
    index_folder = None if data.index_folder is None else Path(data.index_folder)
    return read_unlabelled(Place(root, split), kind, data.format, data.image_column, index_folder)


def _validation_split(root: Path, split: str, recipe: PretrainRecipe) -> ImageSource:
    place = Place(root, split)
    if not place.is_pattern and not isinstance(root, RemotePath) and not place.path.exists():
        rule = f"a folder below {root}, or shards"
        remedy = "name another, or set validation=null to measure no loss on held-out images"
        raise UserError.about("validation.split", split, rule, remedy)
    return _read(root, split, recipe)


def _covered(
    whole: ImageSource, training: ImageSource, chosen: NDArray[Any] | None, out: NDArray[Any] | None, *, every: bool
) -> Sequence[Path]:
    """Return the files that a fingerprint covers: with those held out of the same split, in path order."""
    if out is None or chosen is None or not isinstance(whole, ImageFiles):
        return training.files
    import numpy as np

    return whole.files if every else whole.select(np.sort(np.concatenate([chosen, out]))).files


def _apart(images: int, validation: Validation) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the positions of images that are trained on, and of the share that is held out."""
    import numpy as np

    if images < 2:
        rule = "a share of two images or more"
        raise UserError.about("validation.share", validation.share, rule, "set validation=null")
    count = min(max(1, round((validation.share or 0) * images)), images - 1)
    held_out = np.zeros(images, dtype=bool)
    held_out[random.Random(0).sample(range(images), count)] = True
    return np.flatnonzero(~held_out).astype(np.uint32), np.flatnonzero(held_out).astype(np.uint32)


def _part(
    root: Path, split: str, whole: ImageSource, chosen: NDArray[Any] | None, subset: Subset, file: Path | None
) -> NDArray[Any]:
    """Return the positions of a subset's images among those chosen already; `file` is its list, if it has one.

    Of images in one folder a class, these are the images on which a transfer with the same subset trains. A folder may
    be left without any by a small fraction; all of them may not. Of shards and tables, a fraction is one of all images.
    """
    import numpy as np

    pool = whole if chosen is None else whole.select(chosen)

    def draw() -> NDArray[Any]:
        return np.asarray(_drawn(root / split, pool, subset), dtype=np.uint32)

    if file is not None:
        found = np.asarray(listed(map(pool.name, range(len(pool))), file), dtype=np.uint32)
    elif isinstance(pool, ImageFiles) and isinstance(pool.files, IndexedFiles):
        found = pool.files.derived_positions(root, subset.model_dump_json(), draw)
    else:
        found = draw()
    positions: NDArray[Any] = found if chosen is None else chosen[found]
    return positions


def _drawn(split: Path, pool: ImageSource, subset: Subset) -> list[int]:
    by_folder: dict[str, Sequence[int]] = {"": range(len(pool))}
    if isinstance(pool, ImageFiles) and isinstance(pool.files, IndexedFiles):
        by_folder = {name: found.tolist() for name, found in pool.files.by_folder().items()}
    for folder, positions in by_folder.items():
        if subset.count(len(positions)) > len(positions):
            raise subset.too_many_or_none(positions, f"folder {split / folder}")
    drawn = sorted(position for positions in by_folder.values() for position in subset.draw(positions, pool.name))
    if not drawn:
        raise subset.too_many_or_none(max(by_folder.values(), key=len), f"any folder below {split}")
    return drawn
