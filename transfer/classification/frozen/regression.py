"""Logistic regression on frozen features, with the strength of its penalty chosen on held-out training images.

Source: DINOv2 (Oquab et al. 2023, facebookresearch/dinov2 `eval/log_regression.py`): 45 values of C, the best of which
is fitted again on all training images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import ranks
from benchmarks.engine.device import peak_memory_mb
from benchmarks.engine.processes.exchange import gathered
from benchmarks.runs.probes import Choice
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.frozen.extraction import Stored
from transfer.classification.frozen.frozen_run import FrozenRun, opened
from transfer.classification.frozen.logistic import Fitted, fit
from transfer.classification.frozen.recipe import LogisticRecipe
from transfer.encoder.features import OUTPUT, Feature
from transfer.predictions.evaluation import Evaluation
from transfer.predictions.metrics import top_k
from transfer.predictions.results import further_scores, scores_of, write_results
from transfer.scores import declared, metric_values, write_csv

COLUMNS = ("strength", "held_out_top1", "held_out_loss", "iterations", "note")


class Tried(NamedTuple):
    """One value of C, and how what was fitted with it does on the held-out images."""

    strength: float
    top1: float
    loss: float
    """Mean cross-entropy in nats."""
    iterations: int


def logistic_regression(transfer: Transfer) -> RunRecord:
    """Fit, choose, fit again, and score on the test images; return the completed record."""
    with opened(transfer) as frozen:
        _measure(frozen)
    return frozen.run.record


def _measure(frozen: FrozenRun) -> None:
    recipe: LogisticRecipe = frozen.recipe
    data, feature = frozen.data, [Feature((OUTPUT,), recipe.pooling)]
    train = _with_labels(frozen, frozen.store.of(data.train, feature, "training images"))
    held_out = _with_labels(frozen, frozen.store.of(data.held_out, feature, "held-out images"))
    tests = frozen.tests(feature)
    tried = _tried(recipe, train, held_out, len(data.classes))
    if not ranks.is_main():
        return
    chosen = max(range(len(tried)), key=lambda at: tried[at].top1)  # of equal ones the first, as in DINOv2
    whole = [torch.cat(both) for both in zip(train, held_out, strict=True)]
    fitted = _fitted(recipe, (whole[0], whole[1]), len(data.classes), tried[chosen].strength)
    final, *others = (evaluated(frozen, fitted, test) for test in tests)
    measured = zip(data.test_sets.items(), others, strict=True)
    further = {name: further_scores(other, test_set) for (name, test_set), other in measured}
    write_results(frozen.run.folder, final, data, further)
    best = tried[chosen]
    why = f"best top-1 of {len(tried)} on {len(held_out[1])} held-out training images"
    _write_grid(frozen, tried, chosen, why)
    scores = scores_of(final, frozen.transfer) | declared(further, frozen.transfer.task)
    choice = Choice(
        member=f"C = {best.strength:.3g}",
        members=len(tried),
        held_out_images=len(held_out[1]),
        held_out_top1=best.top1,
        held_out_loss=best.loss,
        why=why,
    )
    metrics = metric_values(frozen.transfer.task, (), scores)
    frozen.complete(recipe.pooling, metrics=metrics, choice=choice, peak_memory_mb=peak_memory_mb(frozen.device))


def _with_labels(frozen: FrozenRun, stored: Stored) -> tuple[Tensor, Tensor]:
    """Return features [N, D] in float64 and classes [N] of the images that could be read, on the device."""
    return frozen.vectors(stored, frozen.recipe.pooling).double(), stored.labels.to(frozen.device)


def _fitted(recipe: LogisticRecipe, images: tuple[Tensor, Tensor], classes: int, strength: float) -> Fitted:
    features, labels = images
    return fit(features, labels, classes, strength, max_iterations=recipe.max_iterations, tolerance=recipe.tolerance)


def _tried(
    recipe: LogisticRecipe, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], classes: int
) -> list[Tried]:
    """Fit every value, each rank its share; return all of them, in order."""
    found, (features, labels) = [], held_out
    for strength in recipe.grid.values[ranks.rank() :: ranks.world_size()]:
        fitted = _fitted(recipe, train, classes, strength)
        logits = fitted.logits(features)
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
        found.append(Tried(strength, top_k(logits, labels, 1), loss, fitted.iterations))
    return sorted(each for share in gathered(found) for each in share)


def evaluated(frozen: FrozenRun, fitted: Fitted, test: Stored) -> Evaluation:
    """Return the predictions of a fitted classifier for stored images."""
    logits = fitted.logits(frozen.vectors(test, frozen.recipe.pooling)).float().cpu()
    return Evaluation(logits, test.labels, torch.tensor(test.positions))


def _write_grid(frozen: FrozenRun, tried: list[Tried], chosen: int, why: str) -> None:
    rows = []
    for at, each in enumerate(tried):
        note = f"chosen: {why}" if at == chosen else ""
        note += (
            "" if each.iterations < frozen.recipe.max_iterations else f"{'; ' * bool(note)}stopped by max_iterations"
        )
        loss = f"{each.loss:.6f}" if math.isfinite(each.loss) else ""
        rows.append((f"{each.strength:.6g}", f"{each.top1:.4f}", loss, each.iterations, note))
    write_csv(frozen.run.folder.grid, COLUMNS, rows)
