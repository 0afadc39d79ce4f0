"""Weighted k-nearest-neighbour classification of frozen features.

Source: Wu et al. 2018 (arXiv 1805.01978), with the settings of DINO (Caron et al. 2021, facebookresearch/dino
`eval_knn.py`): cosine similarity s, a vote of exp(s / temperature) for the neighbour's class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import ranks
from benchmarks.engine.device import peak_memory_mb
from benchmarks.engine.processes.exchange import gathered
from benchmarks.errors import UserError
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.frozen.extraction import Stored
from transfer.classification.frozen.frozen_run import FrozenRun, opened
from transfer.classification.recipe import KnnRecipe
from transfer.encoder.features import OUTPUT, Feature, Summary
from transfer.encoder.sizes import Pooling
from transfer.predictions.evaluation import Evaluation
from transfer.predictions.metrics import top_k
from transfer.predictions.results import further_scores, scores_of, write_results
from transfer.scores import declared, metric_values, write_csv

CHUNK = 4096
"""How many features of the test and of the training set are compared at once: their similarities take 64 MiB."""


def cosine_similarity(features: Tensor, others: Tensor) -> Tensor:
    """Return the cosine similarities [N, M] of normalised features [N, D] and [M, D]."""
    return features @ others.T


class Neighbours:
    """The nearest training images of every test image, found while the training features stream by.

    Neither all training features nor all similarities are ever in memory.
    """

    def __init__(
        self, features: Tensor, count: int, similarity: Callable[[Tensor, Tensor], Tensor] = cosine_similarity
    ) -> None:
        """`features` [N, D] are those of the test images, normalised; the `count` nearest of each image are kept.

        `similarity` makes [N, M] of features [N, D] and [M, D].
        """
        self._features, self._similarity = features, similarity
        self.similarity = features.new_full((len(features), count), -torch.inf)
        """The similarities [N, count], largest first."""
        self.labels = torch.zeros(len(features), count, dtype=torch.int64, device=features.device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Compare with more training images: features [M, D], normalised, and labels [M]."""
        for first in range(0, len(self._features), CHUNK):
            rows = slice(first, first + CHUNK)
            near = torch.cat([self.similarity[rows], self._similarity(self._features[rows], features)], dim=1)
            known = torch.cat([self.labels[rows], labels.expand(len(near), -1)], dim=1)
            best = near.topk(self.similarity.shape[1], dim=1)
            self.similarity[rows], self.labels[rows] = best.values, known.gather(1, best.indices)

    def merge(self, parts: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take the nearest from the similarities and labels that all ranks found in their share."""
        best = torch.cat([similarity for similarity, _ in parts], dim=1).topk(self.similarity.shape[1], dim=1)
        labels = torch.cat([labels for _, labels in parts], dim=1).gather(1, best.indices)
        self.similarity, self.labels = best.values.to(self.similarity.device), labels.to(self.labels.device)

    def logits(self, k: int, temperature: float, classes: int) -> Tensor:
        """Return the logarithm of each class's votes [N, classes] among the k nearest; minus infinity without any."""
        near = self.similarity[:, :k].double()
        votes = ((near - near[:, :1]) / temperature).exp()  # the nearest has 1: a common factor changes no share
        found = votes.new_zeros(len(votes), classes).scatter_add_(1, self.labels[:, :k], votes)
        return found.log()


def nearest(
    asked: Tensor, train: Stored, marks: Tensor, count: int, summaries: Sequence[Summary], rows: Sequence[int]
) -> Neighbours:
    """Return the `count` nearest of the training images at `rows`, for each of the features `asked` [N, D].

    A neighbour's label is what `marks` has for its row among all training images that could be read: its class, or the
    row itself where one wants to know which image it is.
    """
    neighbours = Neighbours(normalize(asked, dim=1), count)
    for first in range(0, len(rows), CHUNK):
        chunk = list(rows[first : first + CHUNK])
        vectors = train.vectors(summaries, [train.positions[row] for row in chunk]).to(asked.device)
        neighbours.add(normalize(vectors, dim=1), marks[chunk].to(asked.device))
    return neighbours


def nearest_neighbours(transfer: Transfer) -> RunRecord:
    """Classify the test images by their neighbours among the training images; return the completed record."""
    _check_counts(transfer.work.config, len(transfer.data.train.source))
    with opened(transfer) as frozen:
        _measure(frozen)
    return frozen.run.record


def _check_counts(recipe: KnnRecipe, images: int) -> None:
    for field, counts in (("k", (recipe.k,)), ("other_k", recipe.other_k)):
        if any(count > images for count in counts):
            rule = f"at most the number of training images ({images})"
            raise UserError.about(field, max(counts), rule, f"set {field}={_fewer(recipe, field, images)}")


def _fewer(recipe: KnnRecipe, field: str, images: int) -> str:
    """Return a value of `field` that fits: at most `images`, or those numbers of the recipe's that are."""
    return str(images) if field == "k" else str([count for count in recipe.other_k if count <= images])


def _measure(frozen: FrozenRun) -> None:
    recipe, data = frozen.recipe, frozen.data
    poolings = _different(frozen)
    features = [Feature((OUTPUT,), pooling) for pooling in poolings]
    tests = frozen.tests(features)
    train = frozen.store.of(data.train, features, "training images")
    found = {pooling: _by_k(frozen, train, tests, pooling) for pooling in poolings}
    if not ranks.is_main():
        return
    final, *others = found[recipe.pooling][recipe.k]
    measured = zip(data.test_sets.items(), others, strict=True)
    further = {name: further_scores(other, test_set) for (name, test_set), other in measured}
    write_results(frozen.run.folder, final, data, further)
    _write_neighbours(frozen, found)
    scores = scores_of(final, frozen.transfer) | declared(further, frozen.transfer.task)
    metrics = metric_values(frozen.transfer.task, (), scores)
    frozen.complete(recipe.pooling, metrics=metrics, peak_memory_mb=peak_memory_mb(frozen.device))


def _different(frozen: FrozenRun) -> list[Pooling]:
    """Return the recipe's ways of pooling, without those that give this encoder the same feature as an earlier one."""
    found: dict[tuple[Summary, ...], Pooling] = {}
    for pooling in (frozen.recipe.pooling, *frozen.recipe.other_pooling):
        found.setdefault(tuple(frozen.encoder.summaries(Feature((OUTPUT,), pooling))), pooling)
    return list(found.values())


def _by_k(frozen: FrozenRun, train: Stored, tests: Sequence[Stored], pooling: Pooling) -> dict[int, list[Evaluation]]:
    """Return, for every number of neighbours, the evaluations of all test sets; every rank searches a share."""
    recipe: KnnRecipe = frozen.recipe
    counts = sorted({recipe.k, *recipe.other_k})
    asked = torch.cat([frozen.vectors(test, pooling) for test in tests])
    mine, labels = range(ranks.rank(), len(train), ranks.world_size()), train.labels.to(frozen.device)
    summaries = frozen.encoder.summaries(Feature((OUTPUT,), pooling))
    neighbours = nearest(asked, train, labels, max(counts), summaries, mine)
    neighbours.merge(gathered((neighbours.similarity.cpu(), neighbours.labels.cpu())))
    sizes, classes, found = [len(test) for test in tests], len(frozen.data.classes), {}
    for k in counts:
        logits = torch.split(neighbours.logits(k, recipe.temperature, classes).float().cpu(), sizes)
        evaluated = zip(logits, tests, strict=True)
        found[k] = [Evaluation(part, test.labels, torch.tensor(test.positions)) for part, test in evaluated]
    return found


def _write_neighbours(frozen: FrozenRun, found: Mapping[Pooling, Mapping[int, Sequence[Evaluation]]]) -> None:
    """Write the scores of every number of neighbours and, where the recipe has others, of every way of pooling."""
    several, rows = bool(frozen.recipe.other_pooling), []
    for pooling, by_k in found.items():
        for k, (test, *_) in by_k.items():
            scores = [f"{top_k(test.logits, test.labels, n):.4f}" for n in (1, 5)]
            rows.append((*([pooling] if several else []), k, *scores))
    write_csv(frozen.run.folder.neighbours, (*(["pooling"] if several else []), "k", "top1", "top5"), rows)
