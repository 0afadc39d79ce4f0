"""Weighted k-nearest-neighbour classification of frozen features.

Source: Wu et al. 2018 (arXiv 1805.01978), with the settings of DINO (Caron et al. 2021, facebookresearch/dino
`eval_knn.py`): cosine similarity s, a vote of exp(s / temperature) for the neighbour's class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks import ranks
from benchmarks.engine.device import choose_device, peak_memory_mb
from benchmarks.engine.evaluation import Walk
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.processes.exchange import gathered, joined
from benchmarks.engine.processes.parallel import divide
from benchmarks.engine.samples.images import Batch
from benchmarks.engine.samples.unreadable import Unreadable
from benchmarks.engine.watch.stop import StopRequest
from benchmarks.errors import UserError
from benchmarks.runs.folder import Run
from benchmarks.runs.record import RunRecord
from transfer.adapter import Transfer
from transfer.classification.augment import test_samples
from transfer.classification.recipe import KnnRecipe
from transfer.encoder.encoder_plan import EncoderPlan
from transfer.encoder.features import OUTPUT, Feature, FrozenEncoder, blocks_of
from transfer.encoder.model import build_model
from transfer.images.labelled import LabelledImages
from transfer.predictions.evaluation import Evaluation
from transfer.predictions.metrics import top_k
from transfer.predictions.results import further_scores, scores_of, write_results
from transfer.run import open_transfer
from transfer.scores import declared, metric_values, write_csv

CHUNK = 4096
"""How many features of the test and of the training set are compared at once: their similarities take 64 MiB."""


class Neighbours:
    """The nearest training images of every test image, found while the training features stream by.

    Neither all training features nor all similarities are ever in memory.
    """

    def __init__(self, features: Tensor, count: int) -> None:
        """`features` [N, D] are those of the test images, normalised; the `count` nearest of each image are kept."""
        self._features = features
        self.similarity = features.new_full((len(features), count), -torch.inf)
        """The cosine similarities [N, count], largest first."""
        self.labels = torch.zeros(len(features), count, dtype=torch.int64, device=features.device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Compare with more training images: features [M, D], normalised, and labels [M]."""
        for first in range(0, len(self._features), CHUNK):
            rows = slice(first, first + CHUNK)
            near = torch.cat([self.similarity[rows], self._features[rows] @ features.T], dim=1)
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


def nearest_neighbours(transfer: Transfer) -> RunRecord:
    """Classify the test images by their neighbours among the training images; return the completed record."""
    recipe: KnnRecipe = transfer.work.config
    _check_counts(recipe, len(transfer.data.train.source))
    with joined():
        device = choose_device(recipe.inference)
        backbone, report, plan = build_model(recipe, transfer.source, transfer.work.seed)
        side, channels = recipe.image_size_px, plan.architecture.in_chans
        encoder = FrozenEncoder(backbone.to(device), (OUTPUT,), side, channels)
        encoder.width(Feature((OUTPUT,), recipe.pooling))  # refuses what it cannot pool, before anything is read
        image = torch.zeros(1, channels, side, side, device=device)
        flops = forward_flops(encoder, lambda: encoder(image, recipe.pooling))
        if recipe.inference.sharded:
            divide(encoder, blocks_of(backbone), device)
        with open_transfer(transfer, device, report, flops) as run, StopRequest():
            _measure(_Extraction(transfer, plan, encoder), run)
        return run.record


def _check_counts(recipe: KnnRecipe, images: int) -> None:
    for field, counts in (("k", (recipe.k,)), ("other_k", recipe.other_k)):
        if any(count > images for count in counts):
            rule = f"at most the number of training images ({images})"
            raise UserError.about(field, max(counts), rule, f"set {field} to less")


class _Features(NamedTuple):
    """Normalised features [N, D] of images, with labels [N] and positions [N] in the list of files."""

    features: Tensor
    labels: Tensor
    positions: Tensor


def _joined(parts: Sequence[_Features]) -> _Features:
    return _Features(*(torch.cat(column) for column in zip(*parts, strict=True)))


class _Extraction:
    """Computes features of images with one frozen encoder."""

    def __init__(self, transfer: Transfer, plan: EncoderPlan, encoder: FrozenEncoder) -> None:
        self.transfer, self.plan, self.encoder = transfer, plan, encoder
        self.recipe: KnnRecipe = transfer.work.config
        self.device = choose_device(self.recipe.inference)
        self.unreadable = Unreadable(self.recipe.data.max_unreadable)

    def stream(self, images: LabelledImages, title: str) -> Iterator[_Features]:
        """Yield the features of this rank's readable images, batch by batch."""
        samples = test_samples(images, self.recipe, self.plan)
        walk = Walk(self.encoder, samples, self.device, self.recipe.inference, self.unreadable, bar=title)
        return walk.each(self._features)

    def _features(self, batch: Batch) -> _Features:
        (found,) = self.encoder(batch.images, self.recipe.pooling)
        return _Features(normalize(found.float(), dim=1), batch.labels, batch.positions)

    def all_of(self, images: LabelledImages) -> _Features:
        """Return the features of every rank's images, in the order of the file list."""
        mine = [_Features(*(column.cpu() for column in part)) for part in self.stream(images, "test images")]
        whole = _joined([part for found in gathered(mine) for part in found])
        order = whole.positions.argsort()
        return _Features(whole.features[order].to(self.device), whole.labels[order], whole.positions[order])

    def nearest(self, features: Tensor) -> Neighbours:
        """Return the training images nearest to each of `features` [N, D], over all ranks."""
        neighbours = Neighbours(features, max((self.recipe.k, *self.recipe.other_k)))
        for chunk in _chunks(self.stream(self.transfer.data.train, "training images")):
            neighbours.add(chunk.features, chunk.labels)
        neighbours.merge(gathered((neighbours.similarity.cpu(), neighbours.labels.cpu())))
        return neighbours


def _chunks(batches: Iterator[_Features]) -> Iterator[_Features]:
    """Join batches to chunks of about CHUNK features."""
    waiting: list[_Features] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(each.labels) for each in waiting) >= CHUNK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _measure(extraction: _Extraction, run: Run) -> None:
    recipe, transfer = extraction.recipe, extraction.transfer
    data = transfer.data
    tests = [extraction.all_of(images) for images in (data.test, *(one.images for one in data.test_sets.values()))]
    neighbours = extraction.nearest(torch.cat([test.features for test in tests]))
    if not ranks.is_main():
        return
    found = _by_k(neighbours, tests, recipe, len(data.classes))
    final, *others = found[recipe.k]
    measured = zip(data.test_sets.items(), others, strict=True)
    further = {name: further_scores(other, test_set) for (name, test_set), other in measured}
    write_results(run.folder, final, data, further)
    rows = ((k, *(f"{top_k(test.logits, test.labels, n):.4f}" for n in (1, 5))) for k, (test, *_) in found.items())
    write_csv(run.folder.neighbours, ("k", "top1", "top5"), rows)
    run.complete(
        feature=extraction.encoder.in_words(Feature((OUTPUT,), recipe.pooling)),
        metrics=metric_values(transfer.task, (), scores_of(final, transfer) | declared(further, transfer.task)),
        peak_memory_mb=peak_memory_mb(extraction.device),
        data=run.record.data.model_copy(update={"unreadable": tuple(extraction.unreadable.names)}),
    )


def _by_k(
    neighbours: Neighbours, tests: Sequence[_Features], recipe: KnnRecipe, classes: int
) -> dict[int, list[Evaluation]]:
    """Return, for every number of neighbours, the evaluations of all test sets, in the order of `tests`."""
    sizes = [len(test.labels) for test in tests]
    found = {}
    for k in sorted({recipe.k, *recipe.other_k}):
        logits = torch.split(neighbours.logits(k, recipe.temperature, classes).float().cpu(), sizes)
        found[k] = [Evaluation(part, test.labels, test.positions) for part, test in zip(logits, tests, strict=True)]
    return found
