"""The fields with which a recipe describes labelled images. This module is light to import."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from benchmarks.catalogue.suites import ALEXNET_ERROR, SEVERITIES, SUITES, corrupted, test_sets_of
from benchmarks.config import Config, later, placement
from benchmarks.data.remote.paths import Root
from benchmarks.subset import Subset

Form = Literal["folders", "flat", "webdataset", "huggingface"]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]


class Storage(Config):
    """How labelled images lie on disk.

    None of it is in the recipe's digest: which images and labels were found is in the data's fingerprint.
    """

    root: Root | None = placement(None)
    """The folder of the data set, or its address: s3://bucket/folder, hf://datasets/owner/name, https://host/folder."""
    format: Literal["auto"] | Form = placement("auto")
    """folders: CLASS/IMAGE. flat: images and a list of their labels. webdataset: tar shards. huggingface: a saved
    `datasets` folder, or parquet files. auto takes the form that is found on disk."""
    classes: str | None = placement(None)
    """The file that says what numbers as labels mean: one class name per line, or the ILSVRC devkit's meta.mat."""
    first_label: Literal[0, 1] | None = placement(None)
    """The number of the first class; null takes 1 in a devkit's ground truth, else 0."""
    label_field: str = placement("label")
    """webdataset: the field of a sample's .json that holds its label, where it has no .cls."""
    image_column: str | None = placement(None)
    """huggingface: the column of images; null takes the only one there is."""
    label_column: str | None = placement(None)
    """huggingface: the column of labels; null takes the only one of class labels, or else the one called `label`."""


class TestImages(Storage):
    """A further test set, scored with the same weights: images of its own, or other labels for the test split's."""

    __test__ = False  # no test case of pytest's

    root: Root | None = placement(None)
    """The folder of the test set; null is data.root."""
    split: str | None = None
    """Folder or shards below the root; null is the root itself, or the test split's images where no root is given."""
    labels: str | None = placement(None)
    """flat: the list of the images' labels."""
    accepted: str | None = placement(None)
    """A JSON list with the accepted labels (from 0) of image 1, 2, ..., as real.json of ImageNet-ReaL; images with none
    are left out."""

    scored_classes: Literal["all", "own"] = later("all")
    """all: a prediction is the likeliest of the model's classes. own: the likeliest of the classes that the test set
    has, as is published for ImageNet-A and ImageNet-R, which have 200; the score is called top1_masked. Sets that are
    called imagenet_a and imagenet_r have `own` unless `all` is given."""
    class_map: str | None = placement(None)
    """For a set with classes of its own: a JSON file with the model's classes that stand for each, or the folder
    `mappings` of ObjectNet. Images of other classes are left out, and predictions are made among all mapped classes."""
    border_px: Annotated[int, Field(ge=0, le=64)] = later(0)
    """How wide a border is cut off each image; ObjectNet's have a red one."""
    test_crop: Annotated[float, Field(gt=0, le=1)] | None = later(None)
    """The `test_crop` of this set's images; null is that of all others. ImageNet-C's are cropped already: 1.0."""

    @property
    def has_images(self) -> bool:
        return self.root is not None or self.split is not None

    @model_validator(mode="after")
    def _has_something_new(self) -> TestImages:
        if not self.has_images and self.accepted is None:
            raise ValueError("root or split (images of its own), or accepted (other labels for the test split)")
        if self.scored_classes == "own" and self.accepted is not None:
            raise ValueError("scored_classes=own needs one label for each image, not accepted ones")
        if self.class_map is not None and (self.accepted is not None or not self.has_images):
            raise ValueError("class_map needs images of the set's own (root or split), and no accepted labels")
        return self


AS_PUBLISHED: dict[str, dict[str, object]] = {
    "imagenet_a": {"scored_classes": "own"},
    "imagenet_r": {"scored_classes": "own"},
    "objectnet": {"class_map": "mappings", "split": "images", "border_px": 2},
    **{
        corrupted(each, severity): {"test_crop": 1.0} for each in ALEXNET_ERROR for severity in SEVERITIES
    },  # images of 224 px; hendrycks/robustness `ImageNet-C/test.py` resizes nothing
}
"""Fields of further test sets, by their names, which hold unless they are given: how each one's scores are published.

Sources: Hendrycks et al. 2021 (arXiv 1907.07174, 2006.16241); DINOv2 `eval/linear.py` (class_mapping); for ObjectNet
mlfoundations/wise-ft `src/datasets/objectnet.py`.
"""


class ClassificationData(Storage):
    """Training and test images with their classes."""

    train_split: str = "train"
    """A folder below the root, or shards: `train-{000000..000146}.tar`, `train-*.parquet`."""
    test_split: str = "val"
    train_labels: str | None = placement(None)
    """flat: the list of labels of the training images; below the root, or a path."""
    test_labels: str | None = placement(None)
    """flat: the list of labels of the test images; below the root, or a path."""
    index_folder: str | None = placement(None)
    """webdataset: where the indices of shards are kept; null is ~/.cache/mimbench/shards."""
    subset: Subset | None = None
    """Train on a part of the training images; null trains on all."""
    test_sets: dict[Name, TestImages] = Field(default_factory=dict)
    """Further test sets, scored with the same weights. Instead of them, `suites: {NAME: FOLDER}` names a suite and the
    folder where its test sets lie; what is given of one of these under test_sets holds above the suite."""
    test_crop: Annotated[float, Field(gt=0, le=1)] = 224 / 256
    """Test images are resized to int(image_size_px / test_crop) on their shorter side, then cropped in the centre."""
    test_resize: Literal["shorter-side", "square"] = later("shorter-side")
    """square: test images are resized to that size on both sides, whatever their shape; with test_crop=1.0 nothing is
    cropped, as in Swin's tests at 384 px."""
    test_interpolation: Literal["bicubic", "bilinear"] | None = later(None)
    """How test images are resized; null: as the recipe's `interpolation` says for all images."""
    test_images: Literal["recipe", "own"] = later("recipe")
    """own: a probe's test images, and all images of nearest neighbours, are resized and cropped as the encoder's own
    file states, whatever the three fields above say; an encoder that states nothing is refused."""
    max_unreadable: int = Field(default=10, ge=0)
    """How many unreadable images are skipped and named; one more stops the run."""

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        data = _without_suites(data)
        sets = data.get("test_sets")
        if not isinstance(sets, dict):
            return data
        known = {
            name: {**AS_PUBLISHED.get(name, {}), **given} if isinstance(given, dict) else given
            for name, given in sets.items()
        }
        return {**data, "test_sets": known}


def _without_suites(data: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the test sets of suites written out. Raises ValueError for a suite that is not known."""
    suites, given = data.get("suites"), data.get("test_sets") or {}
    if not isinstance(suites, dict) or not isinstance(given, dict):
        return data
    sets: dict[str, Any] = {}
    for name, root in suites.items():
        if name not in SUITES or not isinstance(root, str):
            raise ValueError(f"suites must name a folder for each of {', '.join(SUITES)}; {name}: {root!r}")
        sets |= test_sets_of(name, root.rstrip("/"))
    chosen = {name: {**sets.get(name, {}), **each} if isinstance(each, dict) else each for name, each in given.items()}
    return {**{field: value for field, value in data.items() if field != "suites"}, "test_sets": {**sets, **chosen}}
