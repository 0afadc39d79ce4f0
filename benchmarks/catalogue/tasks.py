"""The catalogue of tasks: what is measured, on what, in which unit. Adding a task is one entry here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from benchmarks.catalogue.by_backbone import ANY_BACKBONE, IMAGENET_FROM_SCRATCH, IMAGENET_OF_AUTHORS
from benchmarks.catalogue.metrics import (
    AACC,
    DEPTH,
    DETECTION,
    ECE,
    FREQUENCY_GROUPS,
    MACC,
    MEAN_PER_CLASS,
    MIOU,
    MIOU_MS,
    MULTILABEL,
    OTHER_TEST_SETS,
    PCK,
    TOP1,
    TOP1_MACRO,
    TOP5,
    Metric,
)
from benchmarks.catalogue.suites import FINE_GRAINED, TASKS_OF, DataSet
from benchmarks.config import Config
from benchmarks.digits.embedded import provide
from benchmarks.errors import UserError, did_you_mean
from benchmarks.plugins import Extended


class Task(Config):
    """What is measured. A changed protocol gets a new version; results of two versions are never compared."""

    name: str
    version: int
    kind: Literal["classification", "correspondence", "depth", "detection", "multilabel", "segmentation", "video"]
    dataset: str
    num_classes: int | None
    """None: as many as the data set has."""
    metrics: tuple[Metric, ...]
    primary_metric: str
    recipe: str
    """The transfer recipe used when none is named, unless `from_scratch` has one for what starts."""
    from_scratch: dict[str, str] = Field(default_factory=dict)
    """By backbone: the recipe used when none is named and the encoder has random weights."""
    of_authors: dict[str, str] = Field(default_factory=dict)
    """By method and backbone (`mae ViT-B`): the recipe by which the encoder's authors fine-tune it. It is only named:
    compared encoders are trained by one recipe unless a person chooses otherwise."""
    source: str
    superseded_by: str | None = None
    written_by: str | None = None
    """`module:function` that writes the data set to a folder, for those that this program holds itself; the module's
    MARK and VERSION identify the one that lies there."""

    @property
    def writer(self) -> Callable[[Path], str] | None:
        """What writes an embedded data set to a folder, once and whole, and returns its fingerprint."""
        if self.written_by is None:
            return None
        module, _, name = self.written_by.partition(":")
        found: Callable[[Path], str] = getattr(importlib.import_module(module), name)
        return found

    def provide(self, root: Path) -> None:
        """Write an embedded data set to `root` unless something is there; leave all others to the user.

        Raises UserError for an embedded one of another version.
        """
        if self.written_by is not None and (writer := self.writer) is not None:
            module = importlib.import_module(self.written_by.partition(":")[0])
            provide(root, module.MARK, module.VERSION, writer)

    @property
    def primary(self) -> Metric:
        """The metric that rows are ranked by."""
        return self.metric(self.primary_metric)

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)


def _of_suite(part: DataSet) -> Task:
    """Return the task of one of a suite's data sets."""
    several = part.own_recipe is not None
    one_class = "mean_per_class" if part.mean_per_class else "top1"
    return Task(
        name=part.name,
        version=1,
        kind="multilabel" if several else "classification",
        dataset=part.dataset,
        num_classes=part.classes,
        metrics=MULTILABEL if several else (TOP1, MEAN_PER_CLASS),
        primary_metric="mAP11" if several else one_class,
        recipe=part.own_recipe or f"{FINE_GRAINED}_knn",
        source="https://arxiv.org/abs/1805.08974",
    )


_OWN = {
    task.name: task
    for task in (
        Task(
            name="imagenet1k",
            version=1,
            kind="classification",
            dataset="ImageNet-1K (ILSVRC 2012)",
            num_classes=1000,
            metrics=(TOP1, TOP1_MACRO, TOP5, ECE, *OTHER_TEST_SETS),
            primary_metric="top1",
            recipe="imagenet1k_swin_base_192_after_100ep",
            from_scratch=IMAGENET_FROM_SCRATCH,
            of_authors=IMAGENET_OF_AUTHORS,
            source="https://www.image-net.org/challenges/LSVRC/2012/",
        ),
        Task(
            name="imagefolder",
            version=1,
            kind="classification",
            dataset="any folder with one sub-folder of images per class",
            num_classes=None,
            metrics=(TOP1, TOP1_MACRO, TOP5, ECE),
            primary_metric="top1",
            recipe="imagenet1k_swin_base_192_after_100ep",
            from_scratch=IMAGENET_FROM_SCRATCH,
            of_authors=IMAGENET_OF_AUTHORS,
            source="the user's own data",
        ),
        Task(
            name="inaturalist2018",
            version=1,
            kind="classification",
            dataset="iNaturalist 2018: 8,142 species, a long tail of training images",
            num_classes=8142,
            metrics=(TOP1, TOP1_MACRO, TOP5, ECE, *FREQUENCY_GROUPS),
            primary_metric="top1",
            recipe="inaturalist2018_swin_base_by_analogy",
            from_scratch=IMAGENET_FROM_SCRATCH,
            source="https://github.com/visipedia/inat_comp/tree/master/2018",
        ),
        Task(
            name="digits",
            version=1,
            kind="classification",
            dataset="UCI handwritten digits (scikit-learn's copy), 20 labelled scans per class",
            num_classes=10,
            metrics=(TOP1, TOP1_MACRO, TOP5, ECE),
            primary_metric="top1",
            recipe="digits_finetune",
            from_scratch={ANY_BACKBONE: "digits_supervised"},
            source="https://archive.ics.uci.edu/dataset/80",
            written_by="benchmarks.digits.folders:write_digits",
        ),
        *map(_of_suite, TASKS_OF[FINE_GRAINED]),
        Task(
            name="digit_labels",
            version=1,
            kind="multilabel",
            dataset="UCI handwritten digits, several on a picture, 200 pictures to train and 100 to test",
            num_classes=10,
            metrics=MULTILABEL,
            primary_metric="mAP11",
            recipe="digit_labels_svm",
            source="https://archive.ics.uci.edu/dataset/80",
            written_by="benchmarks.digits.labels:write_digit_labels",
        ),
        Task(
            name="ade20k",
            version=1,
            kind="segmentation",
            dataset="ADE20K, the SceneParsing challenge (ADEChallengeData2016)",
            num_classes=150,
            metrics=(MIOU, MACC, AACC, MIOU_MS),
            primary_metric="mIoU",
            recipe="ade20k_upernet_swin_base",
            source="http://sceneparsing.csail.mit.edu/",
        ),
        Task(
            name="imagemasks",
            version=1,
            kind="segmentation",
            dataset="any folder of images and PNG masks",
            num_classes=None,
            metrics=(MIOU, MACC, AACC, MIOU_MS),
            primary_metric="mIoU",
            recipe="imagemasks_upernet_swin_base",
            source="the user's own data",
        ),
        Task(
            name="digit_scenes",
            version=2,
            kind="segmentation",
            dataset="scenes of UCI handwritten digits on textures, 200 to train and 100 to test",
            num_classes=11,
            metrics=(MIOU, MACC, AACC, MIOU_MS),
            primary_metric="mIoU",
            recipe="digit_scenes_finetune",
            source="https://archive.ics.uci.edu/dataset/80",
            written_by="benchmarks.digits.scenes:write_digit_scenes",
        ),
        Task(
            name="spair71k",
            version=1,
            kind="correspondence",
            dataset="SPair-71k: 12,234 pairs of images of 18 categories, with the keypoints that both show",
            num_classes=18,
            metrics=PCK,
            primary_metric="pck10",
            recipe="spair71k_nearest_sd_dino",
            source="https://arxiv.org/abs/1908.10543",
        ),
        Task(
            name="digit_pairs",
            version=1,
            kind="correspondence",
            dataset="UCI handwritten digits, each on two pictures that a known affine map relates, 60 pairs",
            num_classes=10,
            metrics=PCK,
            primary_metric="pck10",
            recipe="digit_pairs_nearest",
            source="https://archive.ics.uci.edu/dataset/80",
            written_by="benchmarks.digits.pairs:write_digit_pairs",
        ),
        Task(
            name="nyuv2_depth",
            version=1,
            kind="depth",
            dataset="NYU Depth V2 with the lists of BTS: 24,231 images to train, 654 to test",
            num_classes=None,
            metrics=DEPTH,
            primary_metric="rmse",
            recipe="nyuv2_depth_linear_dinov2",
            source="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
        ),
        Task(
            name="digit_depths",
            version=1,
            kind="depth",
            dataset="UCI handwritten digits at several distances on a texture, 160 pictures to train and 40 to test",
            num_classes=None,
            metrics=DEPTH,
            primary_metric="rmse",
            recipe="digit_depths_linear",
            source="https://archive.ics.uci.edu/dataset/80",
            written_by="benchmarks.digits.depths:write_digit_depths",
        ),
        Task(
            name="coco",
            version=1,
            kind="detection",
            dataset="COCO 2017: objects of 80 categories with boxes and masks",
            num_classes=80,
            metrics=DETECTION,
            primary_metric="box_ap",
            recipe="coco_mask_rcnn_swin_base",
            source="https://cocodataset.org/#detection-2017",
        ),
        Task(
            name="coco_format",
            version=1,
            kind="detection",
            dataset="any images with annotations in COCO's format",
            num_classes=None,
            metrics=DETECTION,
            primary_metric="box_ap",
            recipe="coco_mask_rcnn_swin_base",
            source="the user's own data",
        ),
        Task(
            name="digit_boxes",
            version=1,
            kind="detection",
            dataset="UCI handwritten digits on textures with boxes and masks, 300 pictures to train and 60 to test",
            num_classes=10,
            metrics=DETECTION,
            primary_metric="box_ap",
            recipe="digit_boxes_finetune",
            source="https://archive.ics.uci.edu/dataset/80",
            written_by="benchmarks.digits.boxes:write_digit_boxes",
        ),
        Task(
            name="kinetics400",
            version=1,
            kind="video",
            dataset="Kinetics-400: 10 s clips of human actions",
            num_classes=400,
            metrics=(TOP1, TOP1_MACRO, TOP5),
            primary_metric="top1",
            recipe="kinetics400_swin_base",
            source="https://arxiv.org/abs/1705.06950",
        ),
        Task(
            name="ssv2",
            version=1,
            kind="video",
            dataset="Something-Something v2: 174 things that hands do with objects",
            num_classes=174,
            metrics=(TOP1, TOP1_MACRO, TOP5),
            primary_metric="top1",
            recipe="ssv2_attentive_vjepa",
            source="https://arxiv.org/abs/1706.04261",
        ),
        Task(
            name="videofolder",
            version=1,
            kind="video",
            dataset="any folder with one sub-folder of videos per class, or lists of videos",
            num_classes=None,
            metrics=(TOP1, TOP1_MACRO, TOP5),
            primary_metric="top1",
            recipe="kinetics400_swin_base",
            source="the user's own data",
        ),
        Task(
            name="digit_motion",
            version=1,
            kind="video",
            dataset="clips of moving UCI handwritten digits; the class is where they move to",
            num_classes=None,
            metrics=(TOP1, TOP1_MACRO, TOP5),
            primary_metric="top1",
            recipe="digit_motion_finetune",
            source="https://archive.ics.uci.edu/dataset/80",
            written_by="benchmarks.digits.motion:write_digit_motion",
        ),
    )
}
TASKS = Extended("tasks", _OWN)
"""The tasks by name; behind this program's own come those of other packages."""


def find_task(name: str) -> Task:
    """Return the task called `name`. Raises UserError with the nearest name when there is none."""
    if name not in TASKS:
        raise UserError.about("task", name, "a task of the catalogue", did_you_mean(name, TASKS))
    return TASKS[name]
