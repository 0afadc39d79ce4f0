"""Segmentation by nearest neighbours of a frozen encoder's patches; nothing is trained.

Source: CAPI (Darcet et al. 2025, arXiv 2502.08769, facebookresearch/capi `eval_segmentation.py`): the features of all
patches are standardised, and every pixel of a patch gets the most common class among the same pixels of the nearest
training patches. Their number and the distance are chosen on held-out training images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from benchmarks import ranks
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.device import peak_memory_mb
from benchmarks.engine.processes.exchange import gathered
from benchmarks.engine.samples.images import ImageSamples
from benchmarks.engine.samples.unreadable import UnusableError
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.pictures import open_picture
from benchmarks.files.pixels import upright_size
from benchmarks.runs.probes import Choice
from benchmarks.runs.record import LoadReport, RunRecord
from transfer.adapter import Transfer
from transfer.classification.augment import preprocessed
from transfer.classification.frozen import frozen_run
from transfer.classification.frozen.frozen_run import FrozenRun, opened
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.features import FrozenEncoder, Summary
from transfer.encoder.patch_grid import patches_along_a_side
from transfer.images.labelled import LabelledImages
from transfer.scores import metric_values, write_csv
from transfer.segmentation.data import Pair, Scenes
from transfer.segmentation.frozen.bank import PATCHES, Bank, Patches
from transfer.segmentation.frozen.patches import PatchClasses, Standardised
from transfer.segmentation.recipe import Distance, KnnSegmentationRecipe
from transfer.segmentation.scores import Confusion
from transfer.sources.preprocessing import Preprocessing
from transfer.sources.source import Source

READERS = 8
COLUMNS = ("k", "distance", "held_out_mIoU", "note")
"""Of neighbours.csv."""


class Member(NamedTuple):
    """A number of neighbours and a distance."""

    k: int
    distance: Distance


def neighbouring_patches(transfer: Transfer) -> RunRecord:
    """Segment the test images by the nearest patches of the training images; return the completed record."""
    with opened(transfer, _taken, _squares) as frozen:
        _measure(frozen)
    return frozen.run.record


def would_load(recipe: KnnSegmentationRecipe, source: Source) -> LoadReport:
    """Return what a run would load. Raises the UserErrors by which a run would refuse the encoder."""
    return frozen_run.would_load(recipe, source, _taken)


def _taken(recipe: KnnSegmentationRecipe, encoder: FrozenEncoder) -> list[Summary]:
    patches_along_a_side(encoder, PATCHES, recipe.image_size_px)
    return [PATCHES]


def _squares(recipe: KnnSegmentationRecipe, plan: EncoderPlan, images: LabelledImages) -> ImageSamples:
    """Return images that are resized to squares, whatever their shape."""
    side, normalisation = recipe.image_size_px, plan.normalisation
    how = Preprocessing(resize_px=side, resize="square", mean=normalisation.mean, std=normalisation.std)
    channels = plan.architecture.in_chans
    return ImageSamples(images.source, images.labels, preprocessed(how, side), channels=channels, replace=False)


def _patches(frozen: FrozenRun, classes: PatchClasses, pairs: list[Pair], title: str) -> Patches:
    """Return the patches of images; those whose image or mask cannot be used are named, and left out."""
    files = ImageFiles(frozen.data.root, [pair.image for pair in pairs])
    images = LabelledImages(frozen.data.classes, files, [0] * len(pairs))
    stored = frozen.store.summaries_of(images, [PATCHES], title)
    found, faults = [], []
    with ThreadPoolExecutor(READERS) as readers:
        for position, read in zip(
            stored.positions, readers.map(lambda at: _read(classes, pairs[at]), stored.positions), strict=True
        ):
            if isinstance(read, str):
                faults.append(read)
            else:
                found.append((position, read))
    frozen.unreadable.note(faults)
    if not found:
        raise WorkFailed(f"none of the masks of {len(pairs)} {title} could be read")
    positions = [position for position, _ in found]
    return Patches(stored, [pairs[at] for at in positions], positions, torch.stack([labels for _, labels in found]))


def _read(classes: PatchClasses, pair: Pair) -> Tensor | str:
    try:
        return classes.read(pair)
    except UnusableError as fault:
        return str(fault)


def _measure(frozen: FrozenRun) -> None:
    recipe, data = frozen.recipe, frozen.data
    classes = PatchClasses(
        data.values, patches_along_a_side(frozen.encoder, PATCHES, recipe.image_size_px), recipe.image_size_px
    )
    train = _patches(frozen, classes, data.train, "training images")
    test = _patches(frozen, classes, data.test, "test images")
    held_out = train.drawn(recipe.held_out)
    rest = sorted({*range(len(train.pairs))} - {*held_out})
    if not held_out or not rest:
        rule = f"a share of the {len(train.pairs)} training images that is one image at least, and not all of them"
        raise UserError.about("held_out", recipe.held_out, rule, "another share, or more images")
    scale = Standardised(train.features(rest))
    tried = _tried(frozen, classes, Bank(train, rest, scale, classes.outside, frozen.device), train, held_out)
    members = [Member(*each) for each in itertools.product(recipe.k, recipe.distance)]
    best = max(members, key=tried.__getitem__)  # of equal ones the first, as in CAPI
    bank = Bank(train, range(len(train.pairs)), scale, classes.outside, frozen.device)
    found = _segmented(frozen, classes, bank, test, best)
    if not ranks.is_main():
        return
    why = f"best mIoU of {len(members)} on {len(held_out)} held-out training images"
    rows = [(*each, f"{tried[each]:.4f}", f"chosen: {why}" if each == best else "") for each in members]
    write_csv(frozen.run.folder.neighbours, COLUMNS, rows)
    write_atomically(frozen.run.folder.classes, found.table(classes.names).encode())
    choice = Choice(
        member=f"{best.k} neighbours by {best.distance} distance",
        members=len(members),
        held_out_images=len(held_out),
        held_out_mIoU=tried[best],
        why=why,
    )
    metrics = metric_values(frozen.transfer.task, (), found.metrics())
    memory = peak_memory_mb(frozen.device)
    frozen.complete_with("output: all patches", metrics=metrics, choice=choice, peak_memory_mb=memory)


def _tried(
    frozen: FrozenRun, classes: PatchClasses, bank: Bank, train: Patches, held_out: Sequence[int]
) -> dict[Member, float]:
    """Return the mIoU of every number of neighbours and distance on the held-out images; each rank takes a share."""
    recipe: KnnSegmentationRecipe = frozen.recipe
    _require_patches(recipe, len(bank))
    mine, found = held_out[ranks.rank() :: ranks.world_size()], {}
    for distance in recipe.distance:
        nearest = bank.nearest(train, mine, max(recipe.k), distance)
        for k in recipe.k:
            confusion = _scored(
                classes, bank.voted(nearest[:, :k]), train.labels[torch.tensor(mine, dtype=torch.int64)]
            )
            _require_pixels(confusion, "held-out", frozen.data)
            found[Member(k, distance)] = confusion.metrics()["mIoU"]
    return found


def _require_patches(recipe: KnnSegmentationRecipe, patches: int) -> None:
    if max(recipe.k) > patches:
        rule = f"at most the patches of training images that have a class ({patches}, without those held out)"
        raise UserError.about("k", max(recipe.k), rule, "fewer neighbours, or more images")


def _segmented(frozen: FrozenRun, classes: PatchClasses, bank: Bank, test: Patches, best: Member) -> Confusion:
    """Segment the test images, each rank its share; return the counts of all ranks."""
    mine = list(range(ranks.rank(), len(test.pairs), ranks.world_size()))
    predicted = bank.voted(bank.nearest(test, mine, best.k, best.distance))
    if frozen.recipe.save_predictions:
        for row, each in zip(mine, predicted.view(len(mine), -1, predicted.shape[1]) if mine else (), strict=True):
            _save(frozen, classes, test.pairs[row], each)
    found = _scored(classes, predicted, test.labels[torch.tensor(mine, dtype=torch.int64)])
    _require_pixels(found, "test", frozen.data)
    return found


def _scored(classes: PatchClasses, predicted: Tensor, labels: Tensor) -> Confusion:
    """Return the counts of all ranks' pixels: predicted [patches, pixels] and true [images, patches, pixels]."""
    mine = Confusion.empty(len(classes.names))
    mine.add(classes.truth(labels.flatten(0, 1)), predicted)
    return Confusion(torch.stack(gathered(mine.counts)).sum(dim=0))


def _require_pixels(found: Confusion, which: str, data: Scenes) -> None:
    if not found.counts.any():
        remedy = f"number the classes in masks from {data.values.first}, and check the splits that data names"
        raise WorkFailed(f"no pixel of the {which} images has a class\n  remedy: {remedy}")


def _save(frozen: FrozenRun, classes: PatchClasses, pair: Pair, patches: Tensor) -> None:
    """Write a prediction as predictions/NAME.png, enlarged to its image's own size."""
    name = pair.image.relative_to(frozen.data.root / "images").with_suffix(".png")
    path = frozen.run.folder.predicted / name
    make_folder(path.parent)
    with open_picture(pair.image) as image:
        size = upright_size(image)
    square = Image.fromarray(classes.mask_values(classes.joined(patches)))
    square.resize(size, Image.Resampling.NEAREST).save(path)
