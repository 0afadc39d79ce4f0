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
"""Of an image and class that are scored, the surest first; more are left out."""


@dataclass(frozen=True)
class Scores:
    """Shares between 0 and 1; None where there is no object to find."""

    kind: Kind
    ap: float | None
    """Mean over the IoU thresholds 0.50, 0.55, ..., 0.95, and over the classes."""
    ap50: float | None
    """At IoU 0.50 alone."""
    ap75: float | None
    ap_small: float | None
    """Of objects up to 32 x 32 pixels."""
    ap_medium: float | None
    ap_large: float | None
    """Of objects from 96 x 96 pixels."""
    by_class: tuple[float | None, ...]
    """`ap` of every class."""
    objects: tuple[int, ...]
    """Of every class, crowds not counted."""

    def metrics(self) -> dict[str, float]:
        """Return the means in percent by name (box_ap, mask_ap_small, ...), without those that do not exist."""
        names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
        told = {f"{self.kind}_{name}": getattr(self, name) for name in names}
        return {name: 100 * value for name, value in told.items() if value is not None}


@dataclass(frozen=True)
class Tools:
    """COCO's evaluation in one of its packages."""

    index: Any
    """COCO."""
    evaluation: Any
    """COCOeval."""


def coco_tools() -> Tools:
    """Return the fastest package that is installed; they agree."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        return pycocotools()
    return Tools(COCO, COCOeval_faster)


def pycocotools() -> Tools:
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
    """Score what was found on `pictures`: one of the `detections` for each of them, be it an empty one."""
    told, expected = (Counter(each) for each in ([d.image_id for d in detections], [p.id for p in pictures]))
    assert told == expected, "every picture is scored exactly once"
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
    """Return detections in COCO's format of results, which JSON can hold; masks come without boxes, as it asks."""
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
    """Return CSV with one line per class and one column per kind of score; cells of what is not there are empty."""
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
    """Take the means of the precisions [threshold, recall, class, area, detections], where -1 stands for no object."""
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
