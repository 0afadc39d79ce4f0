"""How far a file's encoder was trained: what lies beside it, as the known trainers and libraries save it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from benchmarks.encoders import InitStage
from tests.support.libraries import library
from tests.transfer.checkpoint.vit_files import moco_positions
from transfer.checkpoint.content.stage import infer_stage
from transfer.checkpoint.content.state_dict import find_weights
from transfer.checkpoint.layouts.known import identify

Tensors = dict[str, Tensor]
VIT = {"embed_dim": 64, "depth": 1, "num_heads": 1, "img_size": 48}
SWIN = {"embed_dim": 32, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "img_size": 32}


def model(name: str, prefix: str = "", **arguments: Any) -> Tensors:
    size = SWIN if name.startswith("swin") else VIT
    weights = timm.create_model(name, **{"num_classes": 0, **size, **arguments}).state_dict()
    return {prefix + name: tensor for name, tensor in weights.items()}


def vit(prefix: str = "", **arguments: Any) -> Tensors:
    return model("vit_base_patch16_224", prefix, **arguments)


def swin(prefix: str = "", **arguments: Any) -> Tensors:
    return model("swin_tiny_patch4_window7_224", prefix, **arguments)


def beit(**arguments: Any) -> Tensors:
    return model("beit_base_patch16_224", **arguments)


def beside(*names: str) -> Tensors:
    """Matrices; biases as vectors, and convolutions with four dimensions."""
    return {name: torch.zeros((3,) * (4 if "conv" in name else 1 if name.endswith("bias") else 2)) for name in names}


DINO_HEAD = ("head.mlp.0.weight", "head.mlp.0.bias", "head.last_layer.weight_g", "head.last_layer.weight_v")
MASK_RCNN = ("neck.lateral_convs.0.conv.weight", "neck.fpn_convs.0.conv.weight")
PROBE = {
    "head.0.running_mean": torch.zeros(64),
    "head.0.running_var": torch.ones(64),
    "head.0.num_batches_tracked": torch.tensor(9),
    "head.1.weight": torch.zeros(5, 64),
    "head.1.bias": torch.zeros(5),
}
MOCO = {"pos_embed": moco_positions(3, 64)}
MASK = {"mask_token": torch.zeros(1, 1, 64)}
Case = tuple[Callable[[], dict[str, Any]], InitStage | None]
FILES: dict[str, Case] = {
    "DINO": (
        lambda: {key: {**vit("backbone."), **beside(*DINO_HEAD)} for key in ("student", "teacher")},
        "self-supervised",
    ),
    "DINO, in parallel": (
        lambda: {"teacher": {**vit("module.backbone."), **beside(*(f"module.{name}" for name in DINO_HEAD))}},
        "self-supervised",
    ),
    "MAE": (lambda: {**vit(), **MASK, **beside("decoder_embed.weight")}, "self-supervised"),
    "MAE linear probe": (lambda: {"model": {**vit(), **PROBE}}, "self-supervised"),
    "a classifier of several layers": (lambda: {**vit(), **beside("head.1.weight", "head.1.bias")}, None),
    "SimMIM": (lambda: {**swin("encoder."), **beside("decoder.0.weight")}, "self-supervised"),
    "mmselfsup": (lambda: {**swin("backbone."), **beside("neck.decoder.0.weight")}, "self-supervised"),
    "mmdet Mask R-CNN": (
        lambda: {**swin("backbone."), **beside(*MASK_RCNN, "roi_head.bbox_head.fc_cls.weight")},
        "fine-tuned",
    ),
    "FPN alone": (lambda: {**swin("backbone."), **beside(*MASK_RCNN)}, "fine-tuned"),
    "mmseg UPerNet": (lambda: {**swin("backbone."), **beside("decode_head.conv_seg.weight")}, "fine-tuned"),
    "detectron2": (
        lambda: {**swin("backbone.bottom_up."), **beside("roi_heads.box_predictor.cls_score.weight")},
        "fine-tuned",
    ),
    "Mask2Former": (lambda: {**swin("backbone."), **beside("sem_seg_head.predictor.mask_embed.weight")}, "fine-tuned"),
    "ViT with a mask token left over": (lambda: {**vit(num_classes=5), **MASK}, "fine-tuned"),
    "DINOv2 with a classifier": (lambda: {**vit(num_classes=5), "mask_token": torch.zeros(1, 64)}, "fine-tuned"),
    "after a named pretraining": (
        lambda: {"model": swin(num_classes=5), "config": {"PRETRAINED": "simmim.pth"}},
        "fine-tuned",
    ),
    "MAE fine-tuned, as released": (lambda: {"model": vit(num_classes=5, global_pool="avg")}, None),
    "BEiT fine-tuned": (lambda: {"model": beit(num_classes=5)}, None),
    "MoCo v3 linear probe, by its positions": (lambda: {**vit(num_classes=5), **MOCO}, None),
    "MoCo v3 linear probe, by its name": (
        lambda: {"arch": "vit_small", "state_dict": vit("module.", num_classes=5)},
        None,
    ),
    "bare": (vit, None),
    "a bias of a classifier alone": (lambda: {**vit(), **beside("head.fc.bias")}, None),
    "ViT of timm": (lambda: vit(num_classes=5), "supervised"),
    "Swin of timm": (lambda: swin(num_classes=5), "supervised"),
    "Swin of microsoft": (lambda: {"model": {**swin(), **beside("head.weight", "head.bias")}}, "supervised"),
    "Swin of mmpretrain": (lambda: {"state_dict": {**swin("backbone."), **beside("head.fc.weight")}}, "supervised"),
}


def stage_of(content: object) -> InitStage | None:
    found = find_weights(content)
    return infer_stage(identify(found.tensors).name, {**found.beside, **found.tensors}, found.facts)


def test_maes_linear_probe_is_not_taken_for_moco() -> None:
    assert identify({**vit(), **PROBE}).name == "timm-vit"


@pytest.mark.parametrize("case", FILES)
def test_stage_of_a_file(case: str) -> None:
    make, stage = FILES[case]
    assert stage_of(make()) == stage


HF_VIT = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 1, "image_size": 48, "patch_size": 16}
HF_SWIN = {"embed_dim": 32, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2, "image_size": 32}


@pytest.mark.parametrize(
    ("kind", "backbone", "arguments", "stage"),
    [
        ("ViTForImageClassification", "", {}, "supervised"),
        ("SwinForImageClassification", "", HF_SWIN, "supervised"),
        ("Dinov2ForImageClassification", "", {}, "fine-tuned"),
        ("BeitForImageClassification", "", {"use_mask_token": True, "use_relative_position_bias": True}, "fine-tuned"),
        ("BeitForImageClassification", "", {"use_relative_position_bias": True}, None),
        (
            "BeitForSemanticSegmentation",
            "",
            {"out_indices": [1, 2, 3, 4], "use_relative_position_bias": True},
            "fine-tuned",
        ),
        ("UperNetForSemanticSegmentation", "Swin", {**HF_SWIN, "out_features": ["stage1", "stage2"]}, "fine-tuned"),
        (
            "DPTForDepthEstimation",
            "Dinov2",
            {"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False},
            "fine-tuned",
        ),
        ("ViTForMaskedImageModeling", "", {"encoder_stride": 16}, "self-supervised"),
        ("Dinov2Model", "", {}, "self-supervised"),
    ],
)
def test_stage_of_transformers(kind: str, backbone: str, arguments: dict[str, Any], stage: InitStage | None) -> None:
    transformers = library("transformers", "transformers")
    family = backbone or kind.split("For")[0].removesuffix("Model")
    config = getattr(transformers, f"{family}Config")(**({} if family == "Swin" else HF_VIT), **arguments)
    if backbone == "Swin":
        more = {"hidden_size": 16, "pool_scales": [1], "auxiliary_in_channels": 32}
        config = transformers.UperNetConfig(backbone_config=config, **more)
    elif backbone:
        more = {"neck_hidden_sizes": [16] * 4, "fusion_hidden_size": 16, "reassemble_factors": [4, 2, 1, 0.5]}
        config = transformers.DPTConfig(backbone_config=config, is_hybrid=False, **more)
    assert stage_of(dict(getattr(transformers, kind)(config).state_dict())) == stage
