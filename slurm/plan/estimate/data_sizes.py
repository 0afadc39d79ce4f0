"""How many images data sets of the field have, where the data is not on this machine."""

from __future__ import annotations

from benchmarks.history import find_data_set, name_of_folder
from slurm.plan.speed import Training

TESTED = {"ImageNet-1K": 50_000, "COCO 2017": 5_000, "ADE20K": 2_000, "iNaturalist 2018": 24_426}
"""Images of the validation sets by which these are scored, as those who publish them say."""


def published_images(training: Training) -> int | None:
    """Return how many training images the data set has whose name the data's folder bears; None for other folders.

    Of a subset that is a fraction it is that fraction; how large others are, only the data say.
    """
    known = find_data_set(_name(training))
    return None if known is None or known.images is None else training.drawn(known.images)


def tested_images(training: Training) -> int | None:
    """Return how many images each evaluation has; None where no published number says."""
    if training.kind == "pretrain":
        validation = training.recipe.validation
        images = published_images(training)
        share = None if validation is None else validation.share
        return None if images is None or share is None else round(share * images)
    return TESTED.get(_name(training))


def _name(training: Training) -> str:
    return name_of_folder(str(training.recipe.data.root), None)
