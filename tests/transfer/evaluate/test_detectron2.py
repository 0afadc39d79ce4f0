"""detectron2's models with their own heads: the scores are detectron2's own, and a config makes no objects.

They run where detectron2's sources are: `make test DETECTRON2=FOLDER`; elsewhere they are skipped.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import mimbench
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.support.runs import only_run, record_of
from tests.transfer.detection.detectors import require_detectron2
from tests.transfer.kinds import cut_boxes

library("pycocotools", "pycocotools")
require_detectron2()

from detectron2.config import CfgNode, get_cfg  # noqa: E402
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog, build_detection_test_loader  # noqa: E402
from detectron2.data.datasets import register_coco_instances  # noqa: E402
from detectron2.evaluation import COCOEvaluator, inference_on_dataset  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

MASK_RCNN: dict[str, Any] = {
    "VERSION": 2,
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "WEIGHTS": "detectron2://ImageNetPretrained/R-50.pkl",
        "MASK_ON": True,
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
        "RESNETS": {
            "DEPTH": 18,
            "RES2_OUT_CHANNELS": 64,
            "NORM": "GN",
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        },
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "OUT_CHANNELS": 32},
        "ANCHOR_GENERATOR": {"SIZES": [[16], [24], [32], [48], [64]], "ASPECT_RATIOS": [[1.0, 1.5]]},
        "RPN": {"IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"], "PRE_NMS_TOPK_TEST": 50, "POST_NMS_TOPK_TEST": 20},
        "ROI_HEADS": {
            "NAME": "StandardROIHeads",
            "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "NUM_CLASSES": 10,
            "SCORE_THRESH_TEST": 0.0,
        },
        "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 1, "FC_DIM": 32, "POOLER_RESOLUTION": 7},
        "ROI_MASK_HEAD": {"NAME": "MaskRCNNConvUpsampleHead", "NUM_CONV": 1, "CONV_DIM": 16, "POOLER_RESOLUTION": 14},
    },
    "INPUT": {"MIN_SIZE_TEST": 90, "MAX_SIZE_TEST": 160},
    "SOLVER": {"STEPS": "(210000, 250000)", "MAX_ITER": 270000},
}
RETINANET: dict[str, Any] = {
    "MODEL": {
        "META_ARCHITECTURE": "RetinaNet",
        "BACKBONE": {"NAME": "build_retinanet_resnet_fpn_backbone"},
        "RESNETS": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "NORM": "GN", "OUT_FEATURES": ["res3", "res4", "res5"]},
        "FPN": {"IN_FEATURES": ["res3", "res4", "res5"], "OUT_CHANNELS": 32},
        "RETINANET": {"NUM_CLASSES": 10, "NUM_CONVS": 1, "SCORE_THRESH_TEST": 0.0, "TOPK_CANDIDATES_TEST": 50},
        "PIXEL_MEAN": [123.675, 116.28, 103.53],
        "PIXEL_STD": [58.395, 57.12, 57.375],
    },
    "INPUT": {"MIN_SIZE_TEST": 80, "MAX_SIZE_TEST": 160, "FORMAT": "RGB"},
}


def theirs(config: dict[str, Any]) -> tuple[Any, Any]:
    """Return detectron2's configuration, read by itself, and a random model of it."""
    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode(config))
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(2)
    return cfg, randomise(build_model(cfg))


@pytest.fixture
def data(digit_boxes: Path, tmp_path: Path) -> Path:
    return cut_boxes(digit_boxes, tmp_path / "boxes")


@torch.no_grad()
def annotate_by(model: Any, cfg: Any, data: Path) -> None:
    """Replace the test annotations by some of what the model finds, moved a little: a random model finds no digit."""
    file = data / "annotations" / "instances_test.json"
    document = json.loads(file.read_text())
    ids = sorted(category["id"] for category in document["categories"])
    mapper = DatasetMapper(cfg, is_train=False)
    rows = []
    for image in document["images"]:
        size = {"height": image["height"], "width": image["width"]}
        path = str(data / "test" / image["file_name"])
        found = model([mapper({"file_name": path, "image_id": image["id"], **size})])[0]["instances"]
        for at in range(0, len(found), 3):
            left, top, right, bottom = found.pred_boxes.tensor[at].tolist()
            x, y, width, height = left, top, max(right - left - at % 4, 1), max(bottom - top - at % 5, 1)
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": image["id"],
                    "category_id": ids[int(found.pred_classes[at])],
                    "bbox": [x, y, width, height],
                    "segmentation": [corners],
                    "area": width * height,
                    "iscrowd": 0,
                }
            )
    file.write_text(json.dumps(document | {"annotations": rows}))


def own_scores(model: Any, cfg: Any, data: Path) -> dict[str, float]:
    """Return detectron2's own average precisions on the test images, in percent."""
    name = str(data)
    register_coco_instances(name, {}, str(data / "annotations" / "instances_test.json"), str(data / "test"))
    try:
        loader = build_detection_test_loader(cfg, name, mapper=DatasetMapper(cfg, is_train=False), num_workers=0)
        tasks = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
        evaluator = COCOEvaluator(name, tasks, distributed=False, use_fast_impl=False, output_dir=str(data / "theirs"))
        found = inference_on_dataset(model, loader, evaluator)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    kinds = {"bbox": "box", "segm": "mask"}
    names = {"AP": "ap", "AP50": "ap50", "AP75": "ap75", "APs": "ap_small", "APm": "ap_medium", "APl": "ap_large"}
    return {
        f"{kinds[task]}_{names[metric]}": value
        for task, values in found.items()
        for metric, value in values.items()
        if metric in names and value == value
    }


def evaluate(model: Path, data: Path, runs: Path, *more: str) -> int:
    command = ["evaluate", "digit_boxes", "--model", str(model), f"data.root={data}", "--runs", str(runs)]
    return mimbench.main([*command, *more])


def as_pkl(model: Any, folder: Path) -> Path:
    """Write a file as detectron2's model zoo has them: arrays in a pickle."""
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    (folder / "model_final.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    return folder / "model_final.pkl"


def as_pth(model: Any, folder: Path) -> Path:
    """Write a file as detectron2's checkpointer did, with the buffers that its older versions kept."""
    colours = {"pixel_mean": model.pixel_mean, "pixel_std": model.pixel_std}
    anchors = {"anchor_generator.cell_anchors.0": torch.zeros(2, 4)}
    torch.save({"model": {**model.state_dict(), **colours, **anchors}, "iteration": 9}, folder / "model_final.pth")
    return folder / "model_final.pth"


def write_config(config: dict[str, Any], folder: Path) -> Path:
    """Write the config in two files, the second based on the first, as detectron2's own are."""
    base = {name: value for name, value in config.items() if name != "INPUT"}
    (folder / "Base.yaml").write_text(yaml.safe_dump(base))
    (folder / "config.yaml").write_text(yaml.safe_dump({"_BASE_": "Base.yaml", "INPUT": config["INPUT"]}))
    return folder / "config.yaml"


@pytest.mark.parametrize(
    ("config", "write"), [(MASK_RCNN, as_pkl), (RETINANET, as_pth)], ids=["mask_rcnn", "retinanet"]
)
def test_scores_are_detectron2s_own(
    config: dict[str, Any], write: Callable[[Any, Path], Path], data: Path, tmp_path: Path
) -> None:
    cfg, model = theirs(config)
    annotate_by(model, cfg, data)
    given = ["--config", str(write_config(config, tmp_path)), "save_predictions=true"]
    assert evaluate(write(model, tmp_path), data, tmp_path / "runs", *given) == 0
    run = only_run(tmp_path / "runs")
    record = record_of(run)
    expected = own_scores(model, cfg, data)
    assert {name: value.last for name, value in record.metrics.items()} == pytest.approx(expected, abs=1e-9)
    assert expected["box_ap"] > 5, "something is found, or nothing would be compared"
    assert expected.get("mask_ap", 1) > 0
    report = record.load_report
    assert report is not None
    assert report.complete
    assert (report.loaded, report.coverage_percent) == (report.expected, 100.0)

    ours = json.loads((run / "predictions" / "box.json").read_text())
    found = json.loads((data / "theirs" / "coco_instances_results.json").read_text())
    assert len(ours) == len(found) > 20
    for one, other in zip(ours, found, strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert np.allclose([*one["bbox"], one["score"]], [*other["bbox"], other["score"]], atol=1e-5)


def test_what_is_no_model_of_its_config_is_refused_or_fails(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, model = theirs(MASK_RCNN)
    file, hit = as_pkl(model, tmp_path), tmp_path / "hit"

    def said(*arguments: str, text: str | None = None, config: dict[str, Any] | None = None, of: Path = file) -> str:
        capsys.readouterr()
        if text is not None or config is not None:
            (tmp_path / "config.yaml").write_text(text if text is not None else yaml.safe_dump(config))
            arguments = ("--config", str(tmp_path / "config.yaml"), *arguments)
        assert evaluate(of, data, tmp_path / "runs", *arguments) == mimbench.WRONG
        message = capsys.readouterr().err
        assert "rule:" in message
        assert "remedy:" in message
        return message

    def changed(*path: str, value: Any) -> str:
        config = json.loads(json.dumps(MASK_RCNN))
        inner = config
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        return said(config=config)

    assert "--config = (not given)" in said()
    assert "valid YAML" in said(text=f"MODEL: !!python/object/apply:os.system ['touch {hit}']")
    assert "none of which is based on itself" in said(text="_BASE_: config.yaml")
    assert "a file that exists" in said(text="_BASE_: elsewhere.yaml")
    assert "MODEL.META_ARCHITECTURE = PanopticFPN" in changed("MODEL", "META_ARCHITECTURE", value="PanopticFPN")
    assert "what detectron2 can build" in changed("MODEL", "BACKBONE", "NAME", value="os.system")
    assert "of a project on top of it" in changed("MODEL", "POINT_HEAD", value={"NAME": "x"})
    assert "MODEL.LOAD_PROPOSALS" in changed("MODEL", "LOAD_PROPOSALS", value=True)
    assert "MODEL.FPN.OUT_CHANNELS" in changed("MODEL", "FPN", "OUT_CHANNELS", value=2**40)
    assert "VERSION = 1" in changed("VERSION", value=1)
    assert "classes of the head = 80" in changed("MODEL", "ROI_HEADS", "NUM_CLASSES", value=80)
    assert not hit.exists()

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {hit}",)

    evil = tmp_path / "evil.pkl"
    evil.write_bytes(pickle.dumps({"model": {"a": Evil()}, "__author__": "x"}))
    assert "posix.system" in said(config=MASK_RCNN, of=evil)
    assert not hit.exists()
    backbone = tmp_path / "R-50.pkl"
    backbone.write_bytes(pickle.dumps({"model": {"stem.conv1.weight": np.zeros(3)}, "matching_heuristics": True}))
    assert "a whole model under detectron2's own names" in said(config=MASK_RCNN, of=backbone)
    other = as_pth(model, tmp_path)
    content = torch.load(other, weights_only=True)
    content["model"]["pixel_mean"] += 1
    torch.save(content, other)
    assert "as the config says (MODEL.PIXEL_MEAN)" in said(config=MASK_RCNN, of=other)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/record.json"))

    name = "roi_heads.box_head.fc1.weight"
    for change, words in (
        (lambda weights: weights.update({name: weights[name].T.contiguous()}), f"of another shape: {name}"),
        (lambda weights: weights.pop("backbone.fpn_output2.bias"), "missing from the checkpoint: backbone.fpn_output2"),
    ):
        weights = model.state_dict()
        change(weights)
        torch.save({"model": weights}, tmp_path / "damaged.pth")
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(MASK_RCNN))
        capsys.readouterr()
        given = ["--config", str(tmp_path / "config.yaml")]
        assert evaluate(tmp_path / "damaged.pth", data, tmp_path / "damaged", *given) == mimbench.FAILED
        assert words in capsys.readouterr().err
