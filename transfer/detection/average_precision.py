"""Average precision as COCO defines it, by faster-coco-eval where it is installed, else by pycocotools.

https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transfer.detection.data.coco import Category, Picture
from transfer.detection.data.outlines import encoded
from transfer.detection.data.samples import Detections

Kind = Literal["box", "mask"]
MOST_DETECTIONS = 100
"""The most detections of one image and class that are scored, those of the highest scores first."""


@dataclass(frozen=True)
class Scores:
    """Average precisions between 0 and 1; None where there is no object to find."""

    kind: Kind
    ap: float | None
    """The mean over the IoU thresholds 0.50, 0.55, ..., 0.95, and over the classes."""
    ap50: float | None
    """The same at IoU 0.50 alone."""
    ap75: float | None
    ap_small: float | None
    """The same as `ap`, of objects of at most 32 x 32 pixels."""
    ap_medium: float | None
    ap_large: float | None
    """The same as `ap`, of objects of at least 96 x 96 pixels."""
    by_class: tuple[float | None, ...]
    """The `ap` of every class."""
    objects: tuple[int, ...]
    """The number of objects of every class, without crowds."""

    def metrics(self) -> dict[str, float]:
        """Return the means in percent by name (box_ap, mask_ap_small, ...), without those that do not exist."""
        names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
        shares = {f"{self.kind}_{name}": getattr(self, name) for name in names}
        return {name: 100 * value for name, value in shares.items() if value is not None}


@dataclass(frozen=True)
class Tools:
    """The two classes of COCO's evaluation, from one of the packages that have it."""

    index: Any
    """The class COCO."""
    evaluation: Any
    """The class COCOeval."""


def coco_tools() -> Tools:
    """Return the fastest package that is installed; all compute the same scores."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        return pycocotools()
    return Tools(COCO, COCOeval_faster)


def pycocotools() -> Tools:
    """Return COCO's own package, the reference."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return Tools(COCO, COCOeval)


def average_precision(
    pictures: Sequence[Picture],
    categories: Sequence[Category],
    detections: Sequence[Detections],
    kind: Kind,
    tools: Tools | None = None,
) -> Scores:
    """Score the `detections` on `pictures`, which have exactly one for each picture, be it empty."""
    scored, expected = (Counter(each) for each in ([d.image_id for d in detections], [p.id for p in pictures]))
    assert scored == expected, "every picture is scored exactly once"
    tools = tools or coco_tools()
    with contextlib.redirect_stdout(io.StringIO()):  # neither package can be asked to be quiet
        truth = _index(tools, pictures, categories, _truth(pictures, categories, kind))
        rows = coco_results(detections, categories, kind)
        # loading nothing fails in pycocotools
        found = truth.loadRes(rows) if rows else _index(tools, pictures, categories, [])
        evaluation = tools.evaluation(truth, found, "bbox" if kind == "box" else "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    return _scores(kind, evaluation, pictures, len(categories))


def coco_results(detections: Sequence[Detections], categories: Sequence[Category], kind: Kind) -> list[dict[str, Any]]:
    """Return detections as rows in COCO's format of results; those of masks have no boxes, as it requires."""
    rows: list[dict[str, Any]] = []
    for image in detections:
        for at, (label, score) in enumerate(zip(image.labels.tolist(), image.scores.tolist(), strict=True)):
            row = {"image_id": image.image_id, "category_id": categories[label].id, "score": score}
            if kind == "box":
                left, top, right, bottom = image.boxes[at].tolist()
                rows.append({**row, "bbox": [left, top, right - left, bottom - top]})
            else:
                assert image.masks is not None
                rows.append({**row, "segmentation": _as_text(image.masks[at])})
    return rows


def class_table(categories: Sequence[Category], scores: Sequence[Scores]) -> str:
    """Return CSV with a line for each class and a column for each kind of score; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", *(f"{each.kind}_ap_percent" for each in scores), "objects"])
    for number, category in enumerate(categories):
        values = [each.by_class[number] for each in scores]
        cells = ["" if value is None else repr(100 * value) for value in values]
        writer.writerow([category.name, *cells, scores[0].objects[number]])
    return text.getvalue()


def _truth(pictures: Sequence[Picture], categories: Sequence[Category], kind: Kind) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for picture in pictures:
        for each in picture.annotations:
            # numbered from 1: to pycocotools, a detection matched with number 0 is not matched
            row: dict[str, Any] = {
                "id": len(rows) + 1,
                "image_id": picture.id,
                "category_id": categories[each.category].id,
            }
            row |= {"bbox": list(each.box_xywh), "area": each.area, "iscrowd": int(each.crowd)}
            if kind == "mask" and each.segmentation is not None:
                row["segmentation"] = _as_text(encoded(each.segmentation, picture.height, picture.width))
            rows.append(row)
    return rows


def _index(
    tools: Tools, pictures: Sequence[Picture], categories: Sequence[Category], rows: list[dict[str, Any]]
) -> Any:
    index = tools.index()
    index.dataset = {
        "images": [{"id": picture.id, "height": picture.height, "width": picture.width} for picture in pictures],
        "categories": [{"id": category.id, "name": category.name} for category in categories],
        "annotations": rows,
    }
    index.createIndex()
    return index


def _as_text(rle: dict[str, Any]) -> dict[str, Any]:
    counts = rle["counts"]
    return {"size": list(rle["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def _scores(kind: Kind, evaluation: Any, pictures: Sequence[Picture], num_classes: int) -> Scores:
    """Return means of the precisions [threshold, recall, class, area, detections], in which -1 stands for no object."""
    precision, settings = np.asarray(evaluation.eval["precision"]), evaluation.params
    everything = precision[..., settings.areaRngLbl.index("all"), settings.maxDets.index(MOST_DETECTIONS)]
    at = {round(100 * float(iou)): row for iou, row in zip(settings.iouThrs, everything, strict=True)}
    small, medium, large = (
        _mean(precision[..., settings.areaRngLbl.index(name), settings.maxDets.index(MOST_DETECTIONS)])
        for name in ("small", "medium", "large")
    )
    counted = Counter(each.category for picture in pictures for each in picture.annotations if not each.crowd)
    by_class = tuple(_mean(everything[:, :, number]) for number in range(num_classes))
    objects = tuple(counted[number] for number in range(num_classes))
    return Scores(kind, _mean(everything), _mean(at[50]), _mean(at[75]), small, medium, large, by_class, objects)


def _mean(precision: np.ndarray) -> float | None:
    there = precision[precision > -1]
    return float(there.mean()) if there.size else None
