"""Small segmentation models of mmsegmentation, saved as it saves them, and its own scores of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.support.libraries import library
from tests.support.random_weights import randomise
from transfer.segmentation.model import mmseg_scope

CLASSES = 11
NORM = {"type": "SyncBN", "requires_grad": True}
LOSS = {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0}
PREPROCESSOR = {
    "type": "SegDataPreProcessor",
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "bgr_to_rgb": True,
    "pad_val": 0,
    "seg_pad_val": 255,
    "size": (64, 64),
}
SLIDE = {"mode": "slide", "crop_size": (64, 64), "stride": (42, 42)}
PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "scale": (160, 80), "keep_ratio": True},
    {"type": "LoadAnnotations", "reduce_zero_label": True},
    {"type": "PackSegInputs"},
]
HEAD: dict[str, Any] = {"num_classes": CLASSES, "norm_cfg": NORM, "align_corners": False, "loss_decode": LOSS}


def config_of(backbone: dict[str, Any], head: dict[str, Any], test: dict[str, Any], **model: Any) -> dict[str, Any]:
    """Return a config in the form of mmsegmentation's own."""
    segmentor = {"type": "EncoderDecoder", "data_preprocessor": PREPROCESSOR, "pretrained": None, "train_cfg": {}}
    return {
        "model": {**segmentor, "backbone": backbone, "decode_head": {**HEAD, **head}, "test_cfg": test, **model},
        "test_pipeline": PIPELINE,
        "test_dataloader": {"batch_size": 1, "dataset": {"type": "ADE20KDataset", "pipeline": PIPELINE}},
    }


def upernet_swin(test: dict[str, Any]) -> dict[str, Any]:
    return config_of(
        {
            "type": "SwinTransformer",
            "embed_dims": 24,
            "depths": (1, 1, 1, 1),
            "num_heads": (2, 2, 4, 4),
            "window_size": 4,
            "init_cfg": {"type": "Pretrained", "checkpoint": "https://localhost/swin.pth"},
        },
        {"type": "UPerHead", "in_channels": [24, 48, 96, 192], "in_index": [0, 1, 2, 3], "channels": 16},
        test,
        auxiliary_head={**HEAD, "type": "FCNHead", "in_channels": 96, "in_index": 2, "channels": 8, "num_convs": 1},
    )


def segformer(test: dict[str, Any]) -> dict[str, Any]:
    sizes = {"embed_dims": 16, "num_heads": [1, 2, 4, 4], "num_layers": [1, 1, 1, 1]}
    head = {"type": "SegformerHead", "in_channels": [16, 32, 64, 64], "in_index": [0, 1, 2, 3], "channels": 16}
    return config_of({"type": "MixVisionTransformer", **sizes}, head, test)


def cgnet(test: dict[str, Any]) -> dict[str, Any]:
    """A model that takes only tuples where others take lists as well."""
    sizes = {"num_channels": (8, 16, 32), "num_blocks": (1, 1), "dilations": (2, 4), "reductions": (8, 16)}
    head = {"type": "FCNHead", "in_channels": 64, "in_index": 2, "channels": 64, "num_convs": 0, "concat_input": False}
    return config_of({"type": "CGNet", "in_channels": 3, "norm_cfg": NORM, **sizes}, head, test)


class Saved(NamedTuple):
    """A model as mmsegmentation's runner saves it, its config beside it and inside."""

    checkpoint: Path
    config: Path
    model: Any


def without_weights(value: Any) -> Any:
    """Return a config that fetches nothing."""
    if isinstance(value, dict):
        return {name: without_weights(inner) for name, inner in value.items() if name != "init_cfg"}
    return type(value)(map(without_weights, value)) if isinstance(value, list | tuple) else value


def saved(config: dict[str, Any], folder: Path, suffix: str = ".py") -> Saved:
    """Build the model by mmsegmentation, with random weights, and save it with its config."""
    mmengine = library("mmengine.config", "onedl-mmengine")
    dumped = mmengine.Config(copy.deepcopy(config))
    dumped.dump(folder / f"config{suffix}")
    model = built(config)
    meta = {"cfg": dumped.pretty_text, "dataset_meta": {"classes": tuple(f"class {at}" for at in range(1, 12))}}
    torch.save({"meta": meta, "state_dict": model.state_dict(), "message_hub": {}}, folder / "iter_10.pth")
    return Saved(folder / "iter_10.pth", folder / f"config{suffix}", model)


def built(config: dict[str, Any]) -> Any:
    library("mmseg.models", "onedl-mmsegmentation")
    from mmengine.config import ConfigDict
    from mmengine.model import revert_sync_batchnorm
    from mmseg.registry import MODELS

    with mmseg_scope():
        torch.manual_seed(1)
        model: Any = randomise(revert_sync_batchnorm(MODELS.build(ConfigDict(without_weights(config["model"])))))
    with torch.no_grad():  # so that pixels get different classes
        model.decode_head.conv_seg.weight.mul_(10)
        model.decode_head.conv_seg.bias.zero_()
    return model


@torch.no_grad()
def own_scores(model: Any, config: dict[str, Any], scenes: Path) -> tuple[dict[str, float], list[float]]:
    """Return mmsegmentation's own scores on the validation scenes, and every class's IoU, in percent."""
    from mmengine.dataset import pseudo_collate
    from mmseg.datasets import BaseSegDataset
    from mmseg.evaluation import IoUMetric

    with mmseg_scope():
        data = BaseSegDataset(
            data_root=str(scenes),
            data_prefix={"img_path": "images/validation", "seg_map_path": "annotations/validation"},
            img_suffix=".png",
            metainfo={"classes": tuple(map(str, range(CLASSES)))},
            reduce_zero_label=True,
            pipeline=config["test_pipeline"],
        )
        metric = IoUMetric()
        metric.dataset_meta = data.metainfo
        for sample in data:
            batch = pseudo_collate([sample])
            metric.process(batch, [each.to_dict() for each in model.test_step(batch)])
    totals = [sum(each) for each in zip(*metric.results, strict=True)]
    found = metric.total_area_to_metrics(*totals, ["mIoU"])
    means = {"aAcc": found["aAcc"], "mIoU": found["IoU"], "mAcc": found["Acc"]}
    return {
        name: 100 * float(value[~value.isnan()].mean() if value.ndim else value)
        for name, value in ((name, torch.as_tensor(value)) for name, value in means.items())
    }, [100 * each for each in found["IoU"].tolist()]
