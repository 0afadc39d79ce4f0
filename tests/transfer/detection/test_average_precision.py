"""Average precision of constructed detections: by hand, and as pycocotools publishes it, from both packages."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.libraries import library
from tests.transfer.detection.coco import SmallCoco, places
from transfer.detection.average_precision import (
    Kind,
    Scores,
    Tools,
    average_precision,
    class_table,
    coco_results,
    coco_tools,
    pycocotools,
)
from transfer.detection.data.coco import Annotation, Category, Picture, read_coco
from transfer.detection.data.samples import Detections, read_view

faster = library("faster_coco_eval", "faster-coco-eval")

SHEEP, KITE = Category(3, "sheep"), Category(9, "kite")
BOX = (100.0, 100.0, 100.0, 100.0)
FAR = (300.0, 300.0, 100.0, 100.0)
TOOLS = {"pycocotools": pycocotools(), "faster-coco-eval": Tools(faster.COCO, faster.COCOeval_faster)}
tools = pytest.mark.parametrize("tools", TOOLS.values(), ids=TOOLS)


def thing(box: tuple[float, float, float, float] = BOX, category: int = 0, crowd: bool = False) -> Annotation:
    return Annotation(category, box, None, box[2] * box[3], crowd)


def picture(*things: Annotation, number: int = 1) -> Picture:
    return Picture(number, Path("unread.jpg"), 640, 480, things)


def found(*rows: tuple[tuple[float, float, float, float], float], label: int = 0, number: int = 1) -> Detections:
    """Return detections from (box as x, y, width, height; score)."""
    corners = [[x, y, x + width, y + height] for (x, y, width, height), _ in rows]
    scores = torch.tensor([score for _, score in rows])
    return Detections(number, torch.tensor(corners).reshape(-1, 4), scores, torch.full((len(rows),), label), None)


def boxes(tools: Tools, pictures: list[Picture], detections: list[Detections], categories: int = 1) -> Scores:
    return average_precision(pictures, (SHEEP, KITE)[:categories], detections, "box", tools)


def shifted(pixels: float) -> tuple[float, float, float, float]:
    return (BOX[0] + pixels, *BOX[1:])


def test_the_faster_package_is_taken_where_it_is_installed() -> None:
    assert coco_tools() == TOOLS["faster-coco-eval"]


@tools
def test_perfect_detections_score_one(tools: Tools) -> None:
    scores = boxes(tools, [picture(thing(), thing(FAR))], [found((BOX, 0.5), (FAR, 0.9))])
    assert scores.metrics() == pytest.approx({"box_ap": 100, "box_ap50": 100, "box_ap75": 100, "box_ap_large": 100})


@tools
def test_a_shifted_box_counts_at_the_thresholds_that_its_overlap_reaches(tools: Tools) -> None:
    scores = boxes(tools, [picture(thing())], [found((shifted(10), 0.9))])
    assert 0.80 < 90 / 110 < 0.85, "the overlap"
    assert scores.ap == pytest.approx(7 / 10), "0.50 to 0.80 of ten thresholds"
    assert (scores.ap50, scores.ap75) == pytest.approx((1, 1))
    assert boxes(tools, [picture(thing())], [found((shifted(50), 0.9))]).ap == 0, "an overlap of a third"


@tools
def test_a_missing_object_limits_recall(tools: Tools) -> None:
    scores = boxes(tools, [picture(thing(), thing(FAR))], [found((BOX, 0.5))])
    assert scores.ap == pytest.approx(51 / 101), "of the recalls 0, 0.01, ..., 1, those up to one half"


@tools
def test_a_duplicate_is_wrong(tools: Tools) -> None:
    both = picture(thing(), thing(FAR))
    after = boxes(tools, [both], [found((BOX, 0.9), (FAR, 0.8), (BOX, 0.7))])
    assert after.ap == pytest.approx(1), "when all is found, what follows costs nothing"
    between = boxes(tools, [both], [found((BOX, 0.9), (BOX, 0.8), (FAR, 0.7))])
    assert between.ap == pytest.approx((51 + 50 * 2 / 3) / 101)


@tools
def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong(tools: Tools) -> None:
    herd = thing((300, 200, 200, 200), crowd=True)
    inside = [((310.0 + 20 * number, 220.0, 30.0, 30.0), 0.99) for number in range(5)]
    scores = boxes(tools, [picture(thing(), herd)], [found((BOX, 0.5), *inside)])
    assert scores.ap == pytest.approx(1)
    assert scores.objects == (1,)
    outside = [((10.0, 10.0, 30.0, 30.0), 0.99)]
    assert boxes(tools, [picture(thing(), herd)], [found((BOX, 0.5), *outside)]).ap == pytest.approx(1 / 2)


@tools
def test_of_equal_scores_the_first_one_counts_first(tools: Tools) -> None:
    right, wrong = (BOX, 0.5), (FAR, 0.5)
    assert boxes(tools, [picture(thing())], [found(right, wrong)]).ap == pytest.approx(1)
    assert boxes(tools, [picture(thing())], [found(wrong, right)]).ap == pytest.approx(1 / 2)
    two = [picture(thing()), picture(number=2)]
    assert boxes(tools, two, [found(wrong, number=2), found(right)]).ap == pytest.approx(1), "in the order of images"


@tools
def test_a_hundred_detections_of_an_image_and_class_count(tools: Tools) -> None:
    def wrong(count: int) -> list[tuple[tuple[float, float, float, float], float]]:
        return [((400.0, 2.0 * number, 50.0, 50.0), 0.9) for number in range(count)]

    assert boxes(tools, [picture(thing())], [found(*wrong(99), (BOX, 0.1))]).ap == pytest.approx(1 / 100)
    assert boxes(tools, [picture(thing())], [found(*wrong(100), (BOX, 0.1))]).ap == 0


@tools
def test_sizes_and_classes_without_objects_are_left_out(tools: Tools) -> None:
    small = thing((0, 0, 10, 10))
    scores = boxes(tools, [picture(small), picture(number=2)], [found(), found((FAR, 0.9), number=2)], categories=2)
    assert scores.metrics() == {"box_ap": 0, "box_ap50": 0, "box_ap75": 0, "box_ap_small": 0}
    assert (scores.by_class, scores.objects) == ((0, None), (1, 0))
    assert class_table((SHEEP, KITE), [scores]) == "class,box_ap_percent,objects\nsheep,0.0,1\nkite,,0\n"


@tools
def test_nothing_found_anywhere_scores_zero(tools: Tools) -> None:
    assert boxes(tools, [picture(thing())], [found()]).ap == 0


@tools
def test_classes_are_averaged(tools: Tools) -> None:
    things = picture(thing(), thing(FAR, category=1))
    scores = boxes(tools, [things, picture(number=2)], [found((BOX, 0.9)), found((BOX, 0.9), number=2)], categories=2)
    assert scores.by_class == pytest.approx((1, 0))
    assert scores.ap == pytest.approx(1 / 2)


def test_every_picture_is_scored_exactly_once() -> None:
    pictures = [picture(thing()), picture(number=2)]
    for detections in ([found()], [found(), found()], [found(), found(number=2), found(number=2)]):
        with pytest.raises(AssertionError, match="exactly once"):
            boxes(pycocotools(), pictures, detections)


def guesses(pictures: list[Picture], masks: bool) -> list[Detections]:
    """Return disturbed copies of what is there, with wrong labels among them and nothing for one image."""
    from pycocotools import mask

    draw = np.random.RandomState(3)
    detections = []
    for image in pictures:
        view, copies = read_view(image, masks), 0 if image.id == 5 else 4
        box = view.boxes.repeat(copies, 1) + torch.from_numpy(draw.normal(0, 2, (copies * len(view.boxes), 4)))
        labels = view.labels.repeat(copies)
        labels[torch.from_numpy(draw.uniform(size=len(labels)) < 0.1)] = 0
        scores = torch.from_numpy(draw.uniform(size=len(labels)).round(1))
        rolled = [torch.roll(each, int(draw.randint(-2, 3)), 1) for each in (view.masks if masks else ())] * copies
        detections.append(Detections(image.id, box, scores, labels, [mask.encode(pixels(each)) for each in rolled]))
    return detections


def pixels(mask: Tensor) -> np.ndarray:
    return np.asfortranarray(mask.numpy().astype(np.uint8))


def published(file: Path, rows: list[dict[str, object]], kind: Kind) -> list[float]:
    """Return what pycocotools' own documentation does with a file and results: the first six of its `stats`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        evaluation = COCOeval(truth, truth.loadRes(rows), {"box": "bbox", "mask": "segm"}[kind])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats: list[float] = evaluation.stats[:6].tolist()
    return stats


@tools
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_scores_are_those_that_pycocotools_publishes(digit_boxes: Path, kind: Kind, tools: Tools) -> None:
    data = read_coco(places(digit_boxes))
    detections = guesses(data.test, masks=True)
    scores = average_precision(data.test, data.categories, detections, kind, tools)
    rows = json.loads(json.dumps(coco_results(detections, data.categories, kind)))
    expected = published(digit_boxes / "annotations" / "instances_test.json", rows, kind)
    ours = [scores.ap, scores.ap50, scores.ap75, scores.ap_small, scores.ap_medium, scores.ap_large]
    assert [-1 if value is None else value for value in ours] == pytest.approx(expected, abs=1e-9)
    assert 0.2 < expected[0] < 0.9
    table = list(csv.DictReader(io.StringIO(class_table(data.categories, [scores]))))
    assert np.mean([float(row[f"{kind}_ap_percent"]) for row in table]) == pytest.approx(100 * expected[0], abs=1e-7)
    assert sum(int(row["objects"]) for row in table) == sum(len(image.annotations) for image in data.test)


@tools
@pytest.mark.parametrize("kind", ["box", "mask"])
def test_polygons_crowds_and_both_run_lengths_score_as_published(
    small_coco: SmallCoco, kind: Kind, tools: Tools
) -> None:
    data = read_coco(small_coco.data)
    detections = guesses(data.test, masks=True)
    scores = average_precision(data.test, data.categories, detections, kind, tools)
    rows = coco_results(detections, data.categories, kind)
    expected = published(small_coco.annotations("test"), rows, kind)
    assert (scores.ap, scores.ap50) == pytest.approx(expected[:2], abs=1e-9)


def test_scoring_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for each in TOOLS.values():
        boxes(each, [picture(thing())], [found((BOX, 0.5))])
    assert capfd.readouterr() == ("", "")
