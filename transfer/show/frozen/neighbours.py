"""The training images that frozen encoders find most like the same test images, as the k-NN protocol compares them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.catalogue.task import Task
from benchmarks.config import Recipe, load_recipe
from benchmarks.encoders import MANIFEST
from benchmarks.engine.device import choose_device
from benchmarks.engine.processes.exchange import joined
from benchmarks.engine.samples.unreadable import UNREADABLE, Unreadable, UnusableError
from benchmarks.engine.watch.stop import StopRequest
from benchmarks.errors import UserError
from benchmarks.inference import Inference
from benchmarks.runs.find import Findings, find_runs
from benchmarks.runs.folder import RunFolder
from benchmarks.verbs.command import Work
from transfer.adapter import Transfer, adapter_for
from transfer.classification.augment import test_samples
from transfer.classification.frozen.extraction import FeatureStore
from transfer.classification.frozen.frozen_run import built, pooled
from transfer.classification.knn import nearest
from transfer.classification.recipe import ClassificationRecipe, EvaluateRecipe, KnnRecipe
from transfer.encoder.features import OUTPUT, Feature
from transfer.encoder.proof.loading import require_loaded
from transfer.images.labelled import ClassificationSets, LabelledImages
from transfer.show.classes import picture_of
from transfer.show.frozen.attention import attention_cell, attention_of
from transfer.show.gather import SameData, Wish, placed
from transfer.show.shown import Bytes, Cell, Example, Sheet, ShownRun, drawn
from transfer.sources.references import resolve, scheme_of

COMMAND = ("mimbench", "show")
Maker = tuple[str, Callable[[], Sheet]]
"""What a sheet is of, for messages, and the function that makes it."""


def parted(arguments: Sequence[str]) -> tuple[Findings, list[str]]:
    """Return the runs that arguments lead to, and the references of encoders that are no transfers.

    A pretraining is the encoder that it exported. Raises UserError for an argument that leads nowhere.
    """
    references = [each for each in arguments if _is_encoder(each)]
    found = find_runs([each for each in arguments if each not in references])
    pretrained = [each for each in found.runs if each.record.kind == "pretrain" and each.record.status == "completed"]
    return found, [*references, *(str(each.folder) for each in pretrained)]


def _is_encoder(argument: str) -> bool:
    """Tell whether an argument names an encoder by a scheme, as a file or as a folder of weights, and no runs."""
    path = Path(argument)
    of_weights = path.is_file() and path.suffix != ".json"
    of_folder = any((path / name).is_file() for name in (MANIFEST, "config.json"))
    return scheme_of(argument) is not None or of_weights or of_folder


class SameImages:
    """The test images of one task on which encoders are compared; and the encoders, those of runs and others."""

    def __init__(self, group: SameData, references: Sequence[str], recipe: str | None, wish: Wish, count: int) -> None:
        """`recipe` is for encoders that are no runs where there is no run either; None takes the task's own."""
        self.group, self.references, self.recipe, self.wish, self.count = group, references, recipe, wish, count
        self.overrides = placed(group, wish)

    def makers(self) -> list[Maker]:
        """Return what makes the sheet of each encoder."""
        of_runs = [(each.name, partial(self._of_run, each)) for each in self.runs]
        return [*of_runs, *((each, partial(self._of_reference, each)) for each in self.references)]

    @cached_property
    def runs(self) -> tuple[ShownRun, ...]:
        return self.group.shown() if self.group.runs else ()

    @cached_property
    def first(self) -> ShownRun | None:
        """The run whose data and recipe are taken for encoders that are no runs: the first that had training images."""
        return next((each for each in self.runs if each.run.record.recipe.resolved.get("protocol") != "evaluate"), None)

    @cached_property
    def config(self) -> Any:
        if self.first is not None:
            return self.first.run.config(self.overrides)
        task = self.group.task
        return load_recipe(adapter_for(task).recipe, "transfer", self.recipe or task.recipe, self.overrides).config

    def _require_classes(self) -> None:
        """Raise UserError for a task that is not one of images' classes."""
        task = self.group.task
        if task.kind != "classification":
            rule = "a task in which images have classes, as digits and imagenet1k are"
            remedy = "name runs of such a task; or the encoder that a run exported, with --task and such a task"
            raise UserError.about("--neighbours", task.name, rule, remedy)

    @cached_property
    def data(self) -> ClassificationSets:
        task = self.group.task
        if self.first is not None:
            return cast(ClassificationSets, self.first.run.data(self.config))
        return cast(ClassificationSets, adapter_for(task).find_data(task, as_knn(self.config, self.wish.device)))

    @cached_property
    def positions(self) -> list[int]:
        names = {self.data.test_name(position): position for position in range(len(self.data.test))}
        return [names[name] for name in drawn(names, self.wish.seed)[: self.wish.images]]

    def _of_run(self, each: ShownRun) -> Sheet:
        self._require_classes()
        config = as_knn(each.run.config(self.overrides), self.wish.device)
        return self._sheet(each.run.transfer(config, None, COMMAND, self.data), each.name)

    def _of_reference(self, reference: str) -> Sheet:
        self._require_classes()
        data, source = self.data, resolve(reference)
        recipe = Recipe(self.group.task.name, as_knn(self.config, self.wish.device), ())
        work = Work(recipe, 0, data.root, data.fingerprint, RunFolder(Path()), COMMAND)
        return self._sheet(Transfer(self.group.task, source, work, data), f"{source.use.label} ({reference})")

    def _sheet(self, transfer: Transfer, name: str) -> Sheet:
        with joined(), StopRequest():
            seen = _Seen(transfer, self.positions)
            examples, (attended, words) = seen.examples(self.count), seen.attention()
        columns = ("nearest", *(f"{at}. nearest" for at in range(2, self.count + 1)))
        if attended:
            cells = [attended.get(at, Cell("")) for at in self.positions]
            columns = ("attention", *columns)
            examples = [Example(e.name, e.truth, (c, *e.predictions)) for e, c in zip(examples, cells, strict=True)]
        shown = f"{len(examples)} of {len(self.data.test)} test images, drawn with seed {self.wish.seed}."
        how = f"The {self.count} nearest of {len(self.data.train)} training images by cosine similarity"
        notes = (shown, f"{how} ({seen.feature}).", words, f"Encoder: {transfer.source.use.reference}")
        return Sheet(
            self.group.task.name, "image", columns, tuple(examples), (), (), (*notes, *self.group.notes), encoder=name
        )


def makers(
    groups: Sequence[SameData], references: Sequence[str], task: Task | None, recipe: str | None, wish: Wish, count: int
) -> list[Maker]:
    """Return what makes the sheets: on the data of every group of runs, or on those of `task` where there is none."""
    if not groups and references and task is None:
        rule = "the task whose images are shown, where only encoders are named"
        raise UserError.about("--task", "(not given)", rule, "add --task digits, or the folder of a run")
    on = groups or ([SameData(task, (), ())] if task is not None and references else [])
    return [each for group in on for each in SameImages(group, references, recipe, wish, count).makers()]


def as_knn(config: ClassificationRecipe, device: str) -> KnnRecipe:
    """Return the recipe of nearest neighbours with all that it shares with another: data, image size, pooling, ...

    Raises UserError for a recipe without training images.
    """
    if isinstance(config, EvaluateRecipe):
        rule = "a protocol that has training images, and an encoder apart from its head"
        raise UserError.about("protocol", config.protocol, rule, "name the encoder itself, beside another run")
    shared = {name: value for name, value in config if name in KnnRecipe.model_fields and name != "protocol"}
    ran = config.inference if isinstance(config, KnnRecipe) else _as_trained(config)
    update = {"sharded": False} | ({} if device == "auto" else {"device": device})
    return KnnRecipe(**shared | {"inference": ran.model_copy(update=update)})


def _as_trained(config: Any) -> Inference:
    """Return how a model is run, by the recipe's own `inference` or else as its training says."""
    if hasattr(config, "inference"):
        own: Inference = config.inference
        return own
    training = config.training
    return Inference(precision=training.precision, device=training.device, workers=training.workers)


class _Seen:
    """One encoder, with the test images that are shown."""

    def __init__(self, transfer: Transfer, positions: Sequence[int]) -> None:
        self.recipe, self.data, self.positions = transfer.work.config, transfer.data, positions
        self.device = choose_device(self.recipe.inference)
        self.encoder, report, self.plan = built(transfer, self.device)
        if transfer.source.read is not None:
            require_loaded(report, transfer.source)
        self.summaries, taken = pooled(self.recipe, self.encoder), Feature((OUTPUT,), self.recipe.pooling)
        self.feature = self.encoder.in_words(taken)
        """What images are compared by."""
        unreadable, running = Unreadable(self.recipe.data.max_unreadable), self.recipe.inference
        store = FeatureStore(transfer, self.plan, self.encoder, self.device, running, unreadable)
        self.test = store.of(self.data.test.select(positions), [taken], "shown test images")
        self.train = store.of(self.data.train, [taken], "training images")

    def examples(self, count: int) -> list[Example]:
        """Return the images with their nearest training images. Raises UserError where there are not so many."""
        train = self.train
        if count > len(train):
            rule = f"at most the number of training images that can be read ({len(train)})"
            raise UserError.about("--nearest", count, rule, "ask for fewer")
        asked, rows = self.test.vectors(self.summaries).to(self.device), range(len(train))
        found = nearest(asked, train, torch.arange(len(train)), count, self.summaries, rows)
        near = {
            self.positions[at]: [(train.positions[row], value) for row, value in zip(some, values, strict=True)]
            for at, some, values in zip(
                self.test.positions, found.labels.tolist(), found.similarity.tolist(), strict=True
            )
        }
        return [_example(self.data, at, near.get(at), count) for at in self.positions]

    def attention(self) -> tuple[dict[int, Cell], str]:
        """Return where the encoder attends, by the images' positions; and in words what it is, or why none."""
        samples = test_samples(self.data.test, self.recipe, self.plan)
        cells, words = {}, ""
        for at in (self.positions[index] for index in self.test.positions):
            image = samples.transform(samples.read(at)[0])
            try:
                attended = attention_of(self.encoder.backbone, image[None].to(self.device))
            except UserError as error:
                return {}, "Attention is not shown: " + "; ".join(line.strip() for line in str(error).split("\n"))
            words = attended.in_words
            cells[at] = attention_cell(image, attended.maps[0], self.plan.normalisation)
        return cells, words


def _example(data: ClassificationSets, position: int, near: list[tuple[int, float]] | None, count: int) -> Example:
    """Return a test image with its neighbours; `near` is None where it cannot be read."""
    truth, name = data.test.labels[position], data.test_name(position)
    pixels, fault = _picture(data.test, position)
    words = f"{data.classes[truth]}{fault}"
    if near is None:
        return Example(name, Cell(words, pixels), tuple(Cell("") for _ in range(count)))
    return Example(name, Cell(words, pixels), tuple(_cell(data, truth, at, similarity) for at, similarity in near))


def _cell(data: ClassificationSets, truth: int, position: int, similarity: float) -> Cell:
    label = data.train.labels[position]
    pixels, fault = _picture(data.train, position)
    words = f"{data.classes[label]}, {similarity:.3f}\n{data.train.source.name(position)}{fault}"
    return Cell(words, pixels, right=label == truth)


def _picture(images: LabelledImages, position: int) -> tuple[Bytes | None, str]:
    """Return an image, or None and the reason in words."""
    try:
        return picture_of(images, position), ""
    except (*UNREADABLE, UnusableError) as error:
        return None, f"\n(cannot be read: {type(error).__name__})"
