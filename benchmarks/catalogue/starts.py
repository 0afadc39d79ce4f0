"""Which recipe fits what a training starts from: a task's default, and what is said of one that does not fit."""

from __future__ import annotations

from benchmarks.catalogue.backbones import backbone_name
from benchmarks.catalogue.by_backbone import ANY_BACKBONE
from benchmarks.catalogue.task import Task
from benchmarks.encoders import Architecture, InitStage


def default_recipe(task: Task, random: Architecture | None) -> str:
    """Return the recipe that a task is trained by where none is named.

    `random`: the architecture whose random weights are the start; None: weights that were trained before.
    """
    if random is None:
        return task.recipe
    own = task.from_scratch.get(backbone_name(random) or ANY_BACKBONE)
    return own or task.from_scratch.get(ANY_BACKBONE, task.recipe)


def authors_recipe(task: Task, method: str, stage: InitStage, architecture: Architecture) -> str | None:
    """Return the recipe by which the authors of a self-supervised encoder fine-tune it on a task; None: none is known.

    `method` is the name of the checkpoint's layout.
    """
    if stage != "self-supervised":
        return None
    return task.of_authors.get(f"{method} {backbone_name(architecture)}")


def misfit_in_words(task: Task, recipe: str, reference: str, mark: str, random: Architecture | None) -> str:
    """Return a warning about a misfit, with its remedy: the recipe that fits, or what a recipe says that does."""
    said = f"{reference} will be {mark} ({recipe})"
    fit = default_recipe(task, random)
    if random is None:
        return f"{said}; `mimbench list recipes` says what each recipe is for"
    if fit not in (recipe, task.recipe):
        return f"{said}: a weak baseline; its own is {fit}"
    return f"{said}: a weak baseline; a recipe of yours that is meant for random weights says starts_from: [random]"
