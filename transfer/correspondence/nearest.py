"""Keypoints carried over from one image to another by the most similar of a frozen encoder's patches.

Source: A Tale of Two Features (Zhang et al. 2023, arXiv 2305.15347, Junyi42/sd-dino `pck_spair_pascal.py`), with one
encoder alone: the patch in which a point lies is compared with all patches of the other image by cosine similarity, and
the point is taken to be in the middle of the most similar one. PCK is the share of points whose distance from the truth
is below a share of the longer side of the object's box; it is taken over all points of a category, and then averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize
from torchvision.transforms import v2

from benchmarks import ranks
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.device import peak_memory_mb
from benchmarks.engine.processes.exchange import gathered
from benchmarks.engine.samples.images import ImageSamples
from benchmarks.engine.samples.unreadable import UNREADABLE
from benchmarks.errors import UserError, WorkFailed, first_of
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright_size
from benchmarks.files.regular import regular
from benchmarks.runs.record import LoadReport, RunRecord
from transfer.adapter import Transfer
from transfer.classification.frozen import frozen_run
from transfer.classification.frozen.extraction import Stored
from transfer.classification.frozen.frozen_run import FrozenRun, opened
from transfer.correspondence.data import KeypointPair, Pairs
from transfer.correspondence.recipe import NearestPatchRecipe
from transfer.correspondence.squares import PaddedSquare
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.features import OUTPUT, FrozenEncoder, Summary, blocks_of
from transfer.encoder.patch_grid import patches_along_a_side
from transfer.images.labelled import LabelledImages
from transfer.scores import metric_values, write_csv
from transfer.sources.source import Source

SHARES = {"pck10": 0.1, "pck05": 0.05, "pck01": 0.01}
"""Of the longer side of the box; by the metric's name."""
READERS, SHOWN = 16, 5
CATEGORY_COLUMNS = ("class", *(f"{name}_percent" for name in SHARES), "pairs", "keypoints")
POINT_COLUMNS = ("pair", "keypoint", "x", "y", "true_x", "true_y", "error", "box_side")

Points = NDArray[np.float64]


class Carried(NamedTuple):
    """The keypoints of a pair as they were found on its second image."""

    pair: KeypointPair
    found: Points
    """[N, 2] (x, y), in pixels of the image."""
    errors: NDArray[np.float64]
    """Distances [N] from the truth in shares of the longer side of the box."""


def nearest_patches(transfer: Transfer) -> RunRecord:
    """Carry all keypoints over, and score them; return the completed record."""
    _check_sizes(transfer.data)
    with opened(transfer, taken, _squares) as frozen:
        _measure(frozen)
    return frozen.run.record


def would_load(recipe: NearestPatchRecipe, source: Source) -> LoadReport:
    """Return what a run would load. Raises the UserErrors by which a run would refuse the encoder."""
    return frozen_run.would_load(recipe, source, taken)


def taken(recipe: NearestPatchRecipe, encoder: FrozenEncoder) -> list[Summary]:
    """Return what is compared. Raises UserError for a block that the encoder does not have, or that has no tokens."""
    count = len(blocks_of(encoder.backbone))
    if recipe.layer is not None and recipe.layer not in encoder.layers:
        rule = f"at most {count}, the encoder's blocks" if recipe.layer > count else "a block that gives tokens"
        raise UserError.about("layer", recipe.layer, rule, "choose another layer, or leave it out")
    last = count if count in encoder.layers else OUTPUT
    summary = Summary(last if recipe.layer is None else recipe.layer, "patches")
    patches_along_a_side(encoder, summary, recipe.image_size_px)
    return [summary]


def _check_sizes(data: Pairs) -> None:
    """Raise UserError for images of another size than their annotations say; unreadable ones are left to the loader."""
    stated = {}
    for pair in data.test:
        stated[pair.source], stated[pair.target] = pair.annotation.src_imsize[:2], pair.annotation.trg_imsize[:2]
    with ThreadPoolExecutor(READERS) as readers:
        found = dict(zip(stated, readers.map(_size, stated), strict=True))
    if wrong := [
        f"{path}: {size[0]}x{size[1]}" for path, size in found.items() if size is not None and size != stated[path]
    ]:
        rule = "images of the sizes in their annotations, whose keypoints lie elsewhere otherwise"
        raise UserError.about("data", first_of(wrong, SHOWN), rule, "unpack the archive again")


def _size(path: object) -> tuple[int, int] | None:
    try:
        with open_picture(regular(path)) as image:  # type: ignore[arg-type]
            return upright_size(image)
    except UNREADABLE:
        return None


def _squares(recipe: NearestPatchRecipe, plan: EncoderPlan, images: LabelledImages) -> ImageSamples:
    """Return images on black squares, as the encoder takes them."""
    normalisation, channels = plan.normalisation, plan.architecture.in_chans
    transform = v2.Compose(
        [
            PaddedSquare(recipe.image_size_px),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(normalisation.mean), list(normalisation.std)),
        ]
    )
    return ImageSamples(images.source, images.labels, transform, channels=channels, replace=False)


def _measure(frozen: FrozenRun) -> None:
    data, (summary,) = frozen.data, taken(frozen.recipe, frozen.encoder)
    files = data.images
    images = LabelledImages(data.classes, ImageFiles(data.root, files), [0] * len(files))
    stored = frozen.store.summaries_of(images, [summary], "images")
    readable = {files[position]: position for position in stored.positions}
    usable = [pair for pair in data.test if pair.source in readable and pair.target in readable]
    carry = Carry(frozen, summary, stored, readable)
    mine = [carry(pair) for pair in usable[ranks.rank() :: ranks.world_size()]]
    carried = sorted((each for share in gathered(mine) for each in share), key=lambda each: each.pair.name)
    if not ranks.is_main():
        return
    by_category = {name: [each for each in carried if each.pair.annotation.category == name] for name in data.classes}
    if empty := [name for name, found in by_category.items() if not found]:
        raise WorkFailed(f"no pair of {', '.join(empty)} could be read")
    rows = {name: scores_of(found) for name, found in by_category.items()}
    _write(frozen, by_category, rows, carried)
    metrics = {name: fmean(row[name] for row in rows.values()) for name in SHARES}
    metrics["pck10_image"] = fmean(scores_of([each])["pck10"] for each in carried)
    where = "output" if summary.layer == OUTPUT else f"block {summary.layer}"
    found = metric_values(frozen.transfer.task, (), metrics)
    frozen.complete_with(f"{where}: all patches", metrics=found, peak_memory_mb=peak_memory_mb(frozen.device))


class Carry:
    """Carries the keypoints of pairs over."""

    def __init__(self, frozen: FrozenRun, summary: Summary, stored: Stored, position: Mapping[object, int]) -> None:
        recipe: NearestPatchRecipe = frozen.recipe
        self._summary, self._stored, self._position, self._device = summary, stored, position, frozen.device
        self._square = PaddedSquare(recipe.image_size_px)
        self._side = patches_along_a_side(frozen.encoder, summary, recipe.image_size_px)

    def __call__(self, pair: KeypointPair) -> Carried:
        known, true = pair.annotation, np.array(pair.annotation.trg_kps)
        points = self._square.points(np.array(known.src_kps), *known.src_imsize[:2])
        patches, others = self._patches(pair.source), self._patches(pair.target)
        nearest = nearest_middles(patches, others, points, self._side, self._square.side_px)
        size = known.trg_imsize[:2]
        apart = np.linalg.norm(nearest - self._square.points(true, *size), axis=1)
        return Carried(pair, self._square.back(nearest, *size), apart / (known.box_side * self._square.scale(*size)))

    def _patches(self, path: object) -> Tensor:
        """Return an image's patches [side * side, D], row by row."""
        vector = self._stored.vectors([self._summary], [self._position[path]])
        return vector.view(self._side**2, -1).to(self._device)


def nearest_middles(patches: Tensor, others: Tensor, points: Points, side: int, side_px: int) -> Points:
    """Return the middles [N, 2] (x, y) of the patches most similar to those in which points [N, 2] lie, in pixels.

    Patches [side * side, D] are row by row; the middle of a patch of 14 pixels is 6.5, as pixels count from 0.
    """
    step = side_px / side
    columns, rows = np.clip(points * side / side_px, 0, side - 1).astype(np.int64).T
    asked = normalize(patches[torch.from_numpy(rows * side + columns).to(patches.device)], dim=1)
    best = (asked @ normalize(others, dim=1).T).argmax(dim=1).cpu().numpy()
    return np.stack([best % side, best // side], axis=1) * step + math.floor(step / 2) - 0.5


def scores_of(carried: Sequence[Carried]) -> dict[str, float]:
    """Return PCK in percent over all points of pairs, by the names of SHARES."""
    errors = np.concatenate([each.errors for each in carried])
    return {name: float(100 * (errors < share).mean()) for name, share in SHARES.items()}


def _write(
    frozen: FrozenRun,
    by_category: Mapping[str, Sequence[Carried]],
    scores: Mapping[str, Mapping[str, float]],
    carried: Sequence[Carried],
) -> None:
    """Write the scores of every category, and every keypoint as it was found."""
    categories = [
        (name, *(f"{scores[name][each]:.10f}" for each in SHARES), len(found), sum(len(one.errors) for one in found))
        for name, found in by_category.items()
    ]
    write_csv(frozen.run.folder.classes, CATEGORY_COLUMNS, categories)
    points = [
        (
            each.pair.name,
            number,
            *(f"{value:.3f}" for value in (*place, *each.pair.annotation.trg_kps[number])),
            f"{error:.6f}",
            f"{each.pair.annotation.box_side:g}",
        )
        for each in carried
        for number, (place, error) in enumerate(zip(each.found.tolist(), each.errors.tolist(), strict=True))
    ]
    write_csv(frozen.run.folder.keypoints, POINT_COLUMNS, points)
