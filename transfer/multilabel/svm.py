"""A linear support vector machine for each class, on features of a frozen encoder.

Source: VISSL (Goyal et al. 2019, arXiv 1905.01235, facebookresearch/vissl `utils/svm_utils/svm_trainer.py`): squared
hinge loss with an L2 penalty, whose strength is chosen for each class by cross validation. Images on which all objects
of a class are difficult count as without it in training, and not at all in the test.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from benchmarks import ranks
from benchmarks.engine.device import peak_memory_mb
from benchmarks.engine.processes.exchange import gathered
from benchmarks.engine.samples.images import ImageSamples
from benchmarks.errors import UserError
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.augment import preprocessed
from transfer.classification.frozen.extraction import Stored
from transfer.classification.frozen.frozen_run import FrozenRun, opened
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.features import OUTPUT, Feature
from transfer.images.labelled import LabelledImages
from transfer.multilabel.average_precision import Curve
from transfer.multilabel.data import DIFFICULT, THERE, TRUTH_COLUMNS, LabelledSplit, MultilabelSets
from transfer.multilabel.recipe import SvmRecipe
from transfer.scores import metric_values, write_csv
from transfer.sources.preprocessing import Preprocessing

EPSILON = 1e-5
"""What is added to the length by which a feature is divided."""
CLASS_COLUMNS = ("class", "ap11_percent", "ap_percent", "C", "train_images", "test_images", "test_images_left_out")
GRID_COLUMNS = ("class", "C", "cross_validated_AP", "note")

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]


class Machine(NamedTuple):
    """What was fitted to a class."""

    tried: tuple[float, ...]
    """The mean average precision over folds in percent, of each of the recipe's costs."""
    cost: float
    """The chosen one."""
    scores: Floats
    """The decision values [N] of the test images."""


def support_vectors(transfer: Transfer) -> RunRecord:
    """Fit every class, and score the test images; return the completed record."""
    _check_folds(transfer.work.config, transfer.data)
    with opened(transfer, samples=_squares) as frozen:
        _measure(frozen)
    return frozen.run.record


def _check_folds(recipe: SvmRecipe, data: MultilabelSets) -> None:
    for name, labels in zip(data.classes, data.train.truth.T, strict=True):
        fewest = min((labels == THERE).sum(), (labels != THERE).sum())
        if fewest < recipe.folds:
            rule = f"at most the training images with {name}, and those without ({fewest} are the fewer)"
            raise UserError.about("folds", recipe.folds, rule, "set folds to less, or add images")
    for name, labels in zip(data.classes, data.test.truth.T, strict=True):
        if not (labels == THERE).any():
            rule = f"at least one test image with {name}"
            raise UserError.about("data.test_split", recipe.data.test_split, rule, "check the lists")


def _squares(recipe: SvmRecipe, plan: EncoderPlan, images: LabelledImages) -> ImageSamples:
    """Return images that are resized to squares, whatever their shape."""
    side, (mean, std) = recipe.image_size_px, (plan.normalisation.mean, plan.normalisation.std)
    how = Preprocessing(resize_px=side, resize="square", interpolation=recipe.interpolation, mean=mean, std=std)
    channels = plan.architecture.in_chans
    return ImageSamples(images.source, images.labels, preprocessed(how, side), channels=channels, replace=False)


def _measure(frozen: FrozenRun) -> None:
    recipe: SvmRecipe = frozen.recipe
    data, feature = frozen.data, [Feature((OUTPUT,), recipe.pooling)]
    train = frozen.store.of(data.train.images, feature, "training images")
    test = frozen.store.of(data.test.images, feature, "test images")
    truth, asked = data.train.truth[train.positions], _vectors(frozen, test)
    machines = fitted(recipe, _vectors(frozen, train), truth, asked)
    if not ranks.is_main():
        return
    tested = data.test.truth[test.positions]
    curves = [curve_of(machine.scores, labels) for machine, labels in zip(machines, tested.T, strict=True)]
    scores = {"mAP11": fmean(each.at_eleven_recalls() for each in curves), "mAP": fmean(each.area() for each in curves)}
    _write(frozen, machines, curves, truth, tested)
    _write_predictions(frozen, data.test, test, machines)
    metrics = metric_values(frozen.transfer.task, (), scores)
    frozen.complete(recipe.pooling, metrics=metrics, peak_memory_mb=peak_memory_mb(frozen.device))


def _vectors(frozen: FrozenRun, stored: Stored) -> Floats:
    """Return the features [N, D] of the images that could be read, each of length 1."""
    return of_length_one(frozen.vectors(stored, frozen.recipe.pooling).double().cpu().numpy())


def of_length_one(features: Floats) -> Floats:
    """Return features [N, D], each divided by its length."""
    found: Floats = features / (np.linalg.norm(features, axis=1, keepdims=True) + EPSILON)
    return found


def fitted(recipe: SvmRecipe, features: Floats, truth: Labels, asked: Floats) -> list[Machine]:
    """Fit every class of labels [N, C] to features [N, D]; return their scores of others [M, D].

    Each rank fits a share of the classes, several at a time.
    """
    mine = range(ranks.rank(), truth.shape[1], ranks.world_size())
    one = partial(_machine, recipe, features, asked)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # the solver runs without Python's lock
        found = dict(zip(mine, threads.map(one, (truth[:, at] == THERE for at in mine)), strict=True))
    everywhere = {at: each for share in gathered(found) for at, each in share.items()}
    return [everywhere[at] for at in range(truth.shape[1])]


def _machine(recipe: SvmRecipe, features: Floats, asked: Floats, there: NDArray[np.bool_]) -> Machine:
    labels = np.where(there, 1, -1)

    def made(cost: float) -> LinearSVC:
        weights = {1: recipe.positive_weight, -1: 1.0}
        limits = {"tol": recipe.tolerance, "max_iter": recipe.max_iterations}
        return LinearSVC(C=cost, class_weight=weights, dual=False, **limits)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        tried = [
            cross_val_score(made(cost), features, labels, cv=recipe.folds, scoring="average_precision").mean()
            for cost in recipe.costs
        ]
        best = recipe.costs[int(np.argmax(tried))]  # of equal ones the first, as in VISSL
        machine = made(best).fit(features, labels)
    return Machine(tuple(100 * float(each) for each in tried), best, machine.decision_function(asked))


def curve_of(scores: Floats, labels: Labels) -> Curve:
    """Return the precision and recall of a class, without the images on which it is difficult."""
    counted = labels != DIFFICULT
    return Curve(scores[counted], labels[counted] == THERE)


def _write(frozen: FrozenRun, machines: list[Machine], curves: list[Curve], truth: Labels, tested: Labels) -> None:
    """Write the scores of every class, and of every cost that was tried."""
    classes, counts = [], (_counts(truth, THERE), _counts(tested, THERE), _counts(tested, DIFFICULT))
    for name, machine, curve, *images in zip(frozen.data.classes, machines, curves, *counts, strict=True):
        scores = (f"{curve.at_eleven_recalls():.10f}", f"{curve.area():.10f}")
        classes.append((name, *scores, f"{machine.cost:g}", *images))
    write_csv(frozen.run.folder.classes, CLASS_COLUMNS, classes)
    why = f"chosen: best average precision over {frozen.recipe.folds} folds of the training images"
    grid = [
        (name, f"{cost:g}", f"{score:.4f}", why if cost == machine.cost else "")
        for name, machine in zip(frozen.data.classes, machines, strict=True)
        for cost, score in zip(frozen.recipe.costs, machine.tried, strict=True)
    ]
    write_csv(frozen.run.folder.grid, GRID_COLUMNS, grid)


def _counts(labels: Labels, value: int) -> Iterable[int]:
    found: list[int] = (labels == value).sum(axis=0).tolist()
    return found


def _write_predictions(frozen: FrozenRun, test: LabelledSplit, stored: Stored, machines: list[Machine]) -> None:
    """Write every class's decision value of every test image; above zero, the class is predicted."""
    values = np.stack([machine.scores for machine in machines], axis=1)
    rows = [
        (frozen.data.test_name(position), *test.named(position), *(f"{value:.6g}" for value in row))
        for position, row in zip(stored.positions, values.tolist(), strict=True)
    ]
    write_csv(frozen.run.folder.predictions, ("path", *TRUTH_COLUMNS, *frozen.data.classes), rows)
