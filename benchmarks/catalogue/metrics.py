"""The metrics of all tasks: name, unit, whether more is better, and which are optional."""

from __future__ import annotations

import math

from benchmarks.catalogue.suites import MCE
from benchmarks.config import Config


class Metric(Config):
    """One number's meaning."""

    name: str
    unit: str
    higher_is_better: bool = True
    optional: bool = False
    """Whether some runs do not measure it; a record holds the metrics that its run measured."""
    in_tables: bool = True
    """Whether tables have a column for it; CSV files and the details of a row always do."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value that it can have, which follow from its unit."""
        return BOUNDS.get(self.unit, (-math.inf, math.inf))


BOUNDS = {"%": (0.0, 100.0)}
"""The range of a metric by its unit; those of other units have none."""


TOP1 = Metric(name="top1", unit="%")
TOP5 = Metric(name="top5", unit="%")
TOP1_MACRO = Metric(name="top1_macro", unit="%", optional=True)
"""Mean of the classes' top-1, where they have different numbers of test images; elsewhere it equals top1."""
MEAN_PER_CLASS = Metric(name="mean_per_class", unit="%")
"""Mean of the classes' top-1, the score of some data sets."""
ECE = Metric(name="ece", unit="%", higher_is_better=False, optional=True, in_tables=False)
"""Expected calibration error."""
OTHER_TEST_SETS = (
    Metric(name="imagenet_v2_top1", unit="%", optional=True),
    Metric(name="imagenet_v2_top5", unit="%", optional=True, in_tables=False),
    Metric(name="imagenet_real_top1", unit="%", optional=True),
    Metric(name="imagenet_sketch_top1", unit="%", optional=True, in_tables=False),
    Metric(name="imagenet_a_top1_masked", unit="%", optional=True, in_tables=False),
    Metric(name="imagenet_r_top1_masked", unit="%", optional=True, in_tables=False),
    Metric(name="objectnet_top1_masked", unit="%", optional=True, in_tables=False),
    Metric(name=MCE, unit="% of AlexNet's error", higher_is_better=False, optional=True),
)
"""Scores of the same weights on other test sets of ImageNet's classes: `NAME_METRIC`; masked: among the set's own."""
FREQUENCY_GROUPS = tuple(Metric(name=f"top1_{group}", unit="%", optional=True) for group in ("many", "medium", "few"))
"""Accuracy over classes with more than 100, 20 to 100, and fewer than 20 training images."""
MIOU = Metric(name="mIoU", unit="%")
MACC = Metric(name="mAcc", unit="%")
AACC = Metric(name="aAcc", unit="%")
MIOU_MS = Metric(name="mIoU_ms", unit="%", optional=True)
"""mIoU over several scales, each also mirrored; only where the recipe asks for it."""
DEPTH = (
    Metric(name="rmse", unit="cm", higher_is_better=False),
    Metric(name="abs_rel", unit="% of the true depth", higher_is_better=False),
    *(Metric(name=f"delta{power}", unit="%", in_tables=power == 1) for power in (1, 2, 3)),
)
"""Root mean squared error, mean error in percent of the true depth, and pixels within a factor of 1.25 ** power of it;
each is the mean over images of an image's own."""

MULTILABEL = (Metric(name="mAP11", unit="%"), Metric(name="mAP", unit="%"))
"""Mean over classes of the average precision: at eleven recalls, as VOC 2007 defines it, and the area below the
interpolated precision, as VOC has it since 2010."""
PCK = (
    *(Metric(name=f"pck{share:02}", unit="%", in_tables=share != 1) for share in (10, 5, 1)),
    Metric(name="pck10_image", unit="%"),
)
"""Keypoints whose distance from the truth is below so many percent of the longer side of the object's box: over all
points of a category, averaged over categories; or of each pair of images, averaged over pairs."""

BOX_AP = Metric(name="box_ap", unit="%")
MASK_AP = Metric(name="mask_ap", unit="%", optional=True)
"""Average precision, the mean over IoU 0.5 to 0.95; of masks only where the data set has some."""
DETECTION = (
    BOX_AP,
    MASK_AP,
    *(
        Metric(name=f"{of}_ap{part}", unit="%", optional=True, in_tables=False)
        for of in ("box", "mask")
        for part in ("50", "75", "_small", "_medium", "_large")
    ),
)
"""Also at IoU 0.5 and 0.75, and of objects below 32x32, up to 96x96, and beyond, where the test set has such."""
