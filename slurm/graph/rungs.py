"""Rungs of a sweep, checked: whether its members' held-out losses may be compared, and at which of them one ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.errors import UserError, four_parts
from benchmarks.runs.rungs import differing, first_evaluation, kept_count, loss_conditions
from pretrain.recipe import PretrainRecipe
from slurm.graph.entries import Pretrain
from slurm.graph.pipeline import PipelineFile
from slurm.graph.sweep import members, without_sweeps

AUGMENTATION = ("crop_scale", "crop_ratio", "horizontal_flip", "max_unreadable", *("mean", "std"))
"""Fields of a recipe's `data` that leave the images as they are; how these are normalised is among the conditions."""
Load = Callable[[Pretrain], PretrainRecipe]


def numbers_that_go_on(entry: Pretrain) -> list[int]:
    """Return how many members of a sweep there are, and how many are left after each of its rungs."""
    found = [entry.combinations]
    for _ in entry.rungs or ():
        found.append(kept_count(found[-1], entry.keep or 1.0))
    return found


def rung_mistakes(file: PipelineFile, load: Load) -> Iterator[str]:
    """Yield the mistakes of sweeps with rungs, whose members' recipes `load` returns."""
    for name, entry in file.pretrain.items():
        if entry.sweep is None or entry.rungs is None:
            continue
        field, counts = f"pretrain.{name}.rungs", numbers_that_go_on(entry)
        for share, before, after in zip(entry.rungs, counts, counts[1:], strict=False):
            if before == after:
                rule = f"rungs at which a member ends: with keep {entry.keep} all {before} that come to {share} go on"
                yield four_parts(field, list(entry.rungs), rule, "a smaller `keep`, or fewer rungs")
                break
        try:
            recipes = {member: load(each) for member, each in members(name, entry)}
        except UserError:  # it is shown where the entry itself is checked
            continue
        yield from _not_comparable(field, list(entry.rungs), recipes)


def _not_comparable(field: str, rungs: Sequence[float], recipes: Mapping[str, PretrainRecipe]) -> Iterator[str]:
    """Yield why held-out losses of members could not be compared at the rungs."""
    first = next(iter(recipes.values()))
    if first.validation is None:
        remedy = (
            f"add the override validation.share=0.05 to {field.removesuffix('.rungs')}, or remove `rungs` and `keep`"
        )
        yield four_parts(field, rungs, "images that are held out, on which the members are compared", remedy)
        return
    if found := differing(_conditions(each) for each in recipes.values()):
        rule = f"members whose held-out losses are on one scale; the sweep changes {', '.join(found)}"
        remedy = "remove `rungs` and `keep`: train all members to their end, and compare their scores"
        yield four_parts(field, rungs, rule, remedy)
    if len({_length(each) for each in recipes.values()}) > 1:
        rule = "members of one length: at the same share, a longer training has seen more images"
        yield four_parts(field, rungs, rule, "remove `rungs` and `keep`, or make a sweep for each length")
        return
    if len({each.identity_digest() for each in recipes.values()}) < len(recipes):
        rule = "members that are different trainings: some differ only in where or how they are done"
        yield four_parts(field, rungs, rule, "sweep fields that change what is trained")
    if (epochs := first.training.epochs) is not None:
        every = first.validation.every_epochs
        after = [first_evaluation(share, epochs, every) for share in rungs]
        if after[-1] >= epochs or len(set(after)) < len(after):
            shown = ", ".join(map(str, after))
            rule = (
                f"shares with an evaluation of held-out images of their own before the end: each is compared after the "
                f"next, every {every} of {epochs} epochs, which makes {shown}"
            )
            yield four_parts(field, rungs, rule, "other shares, or a smaller validation.every_epochs")


def _length(recipe: PretrainRecipe) -> tuple[int | None, int | None]:
    training = recipe.training
    return training.epochs, None if training.steps is None else training.steps * training.batch_size


def _conditions(recipe: PretrainRecipe) -> dict[str, Any]:
    """Return all that must be equal between members, the data included, which a record has as a fingerprint."""
    resolved = recipe.model_dump(mode="json")
    images = {name: value for name, value in resolved["data"].items() if name not in AUGMENTATION}
    return {**loss_conditions(resolved), "data": images}


def rung_warnings(file: PipelineFile) -> Iterator[str]:
    """Yield a warning where the baseline may be ended by a rung."""
    file = without_sweeps(file)
    starts = file.started_from()
    entry = next(source.from_ for name, source in file.encoders.items() if file.label(name) == file.baseline)
    while entry is not None:
        pretrain = file.pretrain.get(entry.removeprefix("pretrain."))
        if pretrain is not None and pretrain.rungs is not None:
            yield f"baseline {file.baseline}: a rung may end {entry}, and then the report has nothing to compare with"
            return
        entry = starts[entry].from_ if entry in starts else None
