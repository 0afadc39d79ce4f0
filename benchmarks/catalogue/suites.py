"""Suites: test sets, or data sets, that go together under one name. Light to import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean

Fields = dict[str, dict[str, object]]
"""Of test sets, by their names, what a recipe says of each below `data.test_sets`."""

ALEXNET_ERROR = {
    "gaussian_noise": 88.6428,
    "shot_noise": 89.4468,
    "impulse_noise": 92.2640,
    "defocus_blur": 81.9880,
    "glass_blur": 82.6268,
    "motion_blur": 78.5948,
    "zoom_blur": 79.8360,
    "snow": 86.6816,
    "frost": 82.6572,
    "fog": 81.9324,
    "brightness": 56.4592,
    "contrast": 85.3204,
    "elastic_transform": 64.6056,
    "pixelate": 71.7840,
    "jpeg_compression": 60.6500,
}
"""ImageNet-C's 15 corruptions, and AlexNet's top-1 error on each in percent, the mean over its severities.

Sources: Hendrycks and Dietterich 2019 (arXiv:1903.12261); the values are those of google-research/augmix imagenet.py.
"""
SEVERITIES = range(1, 6)
CORRUPTED = "imagenet_c_"
"""How the names of ImageNet-C's test sets begin."""
MCE = f"{CORRUPTED}mce"


def corrupted(corruption: str, severity: int) -> str:
    """Return the name of one of ImageNet-C's 75 test sets."""
    return f"{CORRUPTED}{corruption}_{severity}"


def mean_corruption_error(further: Mapping[str, Mapping[str, float]]) -> float | None:
    """Return ImageNet-C's mCE in percent of AlexNet's error, given the scores of test sets by name; None unless all 75
    sets are there.

    Of each corruption it is the error summed over severities, divided by AlexNet's (equation 1 of arXiv:1903.12261).
    """
    names = [[corrupted(each, severity) for severity in SEVERITIES] for each in ALEXNET_ERROR]
    if any("top1" not in further.get(name, {}) for row in names for name in row):
        return None
    errors = [fmean(100 - further[name]["top1"] for name in row) for row in names]
    return 100 * fmean(error / alexnet for error, alexnet in zip(errors, ALEXNET_ERROR.values(), strict=True))


def _imagenet_robustness(root: str) -> Fields:
    """ImageNet-V2, ReaL, Sketch, A, R, C and ObjectNet, under the names that their archives give the folders."""
    return {
        "imagenet_v2": {"root": f"{root}/imagenetv2-matched-frequency-format-val"},
        "imagenet_real": {"accepted": f"{root}/real.json"},
        "imagenet_sketch": {"root": f"{root}/sketch"},
        "imagenet_a": {"root": f"{root}/imagenet-a"},
        "imagenet_r": {"root": f"{root}/imagenet-r"},
        "objectnet": {"root": f"{root}/objectnet-1.0"},
        **{
            corrupted(each, severity): {"root": f"{root}/imagenet-c/{each}/{severity}"}
            for each in ALEXNET_ERROR
            for severity in SEVERITIES
        },
    }


SUITES: Mapping[str, Callable[[str], Fields]] = {"imagenet_robustness": _imagenet_robustness}
"""What each suite's test sets are, given the folder in which they lie."""


def test_sets_of(suite: str, root: str) -> Fields:
    """Return the test sets below a folder of one of SUITES."""
    return SUITES[suite](root)


@dataclass(frozen=True)
class DataSet:
    """A data set of a suite, which is a task of its own."""

    name: str
    dataset: str
    classes: int
    mean_per_class: bool
    """Whether its score is the mean of the classes' accuracies rather than that of all images."""
    own_recipe: str | None = None
    """The recipe by which it is measured whatever those of the others are: several classes stand on its images, which
    no recipe of classification takes."""


FINE_GRAINED = "fine_grained"
TASKS_OF = {
    FINE_GRAINED: (
        DataSet("cifar10", "CIFAR-10", 10, False),
        DataSet("cifar100", "CIFAR-100", 100, False),
        DataSet("food101", "Food-101", 101, False),
        DataSet("dtd", "Describable Textures (DTD), first split", 47, False),
        DataSet("oxford_pets", "Oxford-IIIT Pets", 37, True),
        DataSet("flowers102", "Oxford Flowers-102", 102, True),
        DataSet("caltech101", "Caltech-101, 30 training images a class", 101, True),
        DataSet("stanford_cars", "Stanford Cars", 196, False),
        DataSet("fgvc_aircraft", "FGVC-Aircraft variants", 100, True),
        DataSet("sun397", "SUN397, first split", 397, False),
        DataSet("cub200", "CUB-200-2011", 200, False),
        DataSet("voc2007", "PASCAL VOC 2007", 20, False, own_recipe="voc2007_svm"),
    )
}
"""The data sets of each suite of tasks.

Sources of the scores: Kornblith et al. 2019 (arXiv:1805.08974) and DINOv2 (arXiv:2304.07193, table 8).
"""


def tasks_in(name: str) -> tuple[str, ...]:
    """Return the names of a suite's tasks, or of a task that is none the name alone."""
    return tuple(part.name for part in TASKS_OF[name]) if name in TASKS_OF else (name,)
