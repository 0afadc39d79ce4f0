"""Few labelled images of each class, over several draws: logistic regression on frozen features.

Source: MSN (Assran et al. 2022, facebookresearch/msn `logistic_eval.py`): each feature is centred and brought to length
1, a classifier without intercepts is fitted to the images of a draw, and the mean over draws is reported.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import ranks
from benchmarks.engine.device import peak_memory_mb
from benchmarks.engine.processes.exchange import gathered
from benchmarks.errors import UserError
from benchmarks.runs.probes import Draws
from benchmarks.runs.record import RunRecord
from benchmarks.subset import Subset
from transfer.adapter import Transfer
from transfer.classification.frozen.extraction import Stored
from transfer.classification.frozen.frozen_run import FrozenRun, opened
from transfer.classification.frozen.logistic import Fitted, fit
from transfer.classification.frozen.recipe import FewShotRecipe
from transfer.encoder.features import OUTPUT, Feature
from transfer.predictions.metrics import top_k
from transfer.scores import metric_values, write_csv

COLUMNS = ("per_class", "draw", "images", "top1", "top5", "note")
Score = tuple[int, int, int, float, float]
"""One line of shots.csv, by `COLUMNS`, without its note."""


def few_shot(transfer: Transfer) -> RunRecord:
    """Fit and score every draw of every number of images; return the completed record."""
    _check_counts(transfer)
    with opened(transfer) as frozen:
        _measure(frozen)
    return frozen.run.record


def _check_counts(transfer: Transfer) -> None:
    recipe: FewShotRecipe = transfer.work.config
    train = transfer.data.train
    fewest = min(train.labels.count(label) for label in range(len(train.classes)))
    for field, counts in (("per_class", (recipe.per_class,)), ("other_per_class", recipe.other_per_class)):
        if any(count > fewest for count in counts):
            rule = f"at most the training images of every class ({fewest})"
            raise UserError.about(field, max(counts), rule, f"set {field} to less")


def _measure(frozen: FrozenRun) -> None:
    recipe: FewShotRecipe = frozen.recipe
    feature = [Feature((OUTPUT,), recipe.pooling)]
    train, test = frozen.store.of(frozen.data.train, feature, "training images"), frozen.tests(feature)[0]
    numbers = sorted({recipe.per_class, *recipe.other_per_class})
    tasks = [(number, draw) for number in numbers for draw in range(recipe.draws)]
    mine = [_score(frozen, train, test, *each) for each in tasks[ranks.rank() :: ranks.world_size()]]
    scores = sorted(each for share in gathered(mine) for each in share)
    if not ranks.is_main():
        return
    notes = ["score of the run" if each[0] == recipe.per_class else "" for each in scores]
    write_csv(frozen.run.folder.shots, COLUMNS, [(*each, note) for each, note in zip(scores, notes, strict=True)])
    own = [each for each in scores if each[0] == recipe.per_class]
    found = {"top1": statistics.fmean(each[3] for each in own), "top5": statistics.fmean(each[4] for each in own)}
    draws = Draws(per_class=recipe.per_class, top1=tuple(each[3] for each in own))
    spread = f" +- {draws.spread:.2f}" if draws.spread is not None else ""
    print(f"{recipe.per_class} images of each class, {recipe.draws} draws: top-1 {found['top1']:.2f}{spread} %")
    metrics = metric_values(frozen.transfer.task, (), found)
    frozen.complete(recipe.pooling, metrics=metrics, draws=draws, peak_memory_mb=peak_memory_mb(frozen.device))


def _score(frozen: FrozenRun, train: Stored, test: Stored, number: int, draw: int) -> Score:
    recipe: FewShotRecipe = frozen.recipe
    drawn = drawn_positions(train, Subset(per_class=number, seed=draw))
    summaries = frozen.encoder.summaries(Feature((OUTPUT,), recipe.pooling))
    features = prepared(train.vectors(summaries, drawn).to(frozen.device))
    labels = torch.tensor([train.images.labels[at] for at in drawn], device=frozen.device)
    fitted: Fitted = fit(
        features,
        labels,
        len(frozen.data.classes),
        recipe.strength,
        intercept=False,
        max_iterations=recipe.max_iterations,
        tolerance=recipe.tolerance,
    )
    logits = fitted.logits(prepared(frozen.vectors(test, recipe.pooling))).float().cpu()
    return number, draw, len(drawn), top_k(logits, test.labels, 1), top_k(logits, test.labels, 5)


def drawn_positions(train: Stored, subset: Subset) -> Sequence[int]:
    """Return the positions of a draw's images, in order; what could not be read is not drawn."""
    by_class: dict[int, list[int]] = defaultdict(list)
    for position in train.positions:
        by_class[train.images.labels[position]].append(position)
    name = train.images.source.name
    return sorted(at for positions in by_class.values() for at in subset.draw(positions, name))


def prepared(features: Tensor) -> Tensor:
    """Return features [N, D] in float64, each less its own mean and of length 1, as cyanure's `preprocess` does."""
    features = features.double()
    return normalize(features - features.mean(dim=1, keepdim=True), dim=1)
