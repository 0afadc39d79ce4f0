"""Weights are found, and their names unwrapped, in files with the true key names of published checkpoints."""

from __future__ import annotations

import argparse
import collections
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.errors import UserError
from transfer.checkpoint.content.state_dict import find_weights
from transfer.checkpoint.files.checkpoint_file import read_checkpoint_file
from transfer.checkpoint.pickles.stand_ins import Inert

SWIN = (
    "patch_embed.proj.weight",
    "patch_embed.norm.weight",
    "layers.0.blocks.0.attn.relative_position_bias_table",
    "layers.0.blocks.0.norm1.weight",
    "layers.0.downsample.reduction.weight",
    "norm.weight",
)
VIT = (
    "cls_token",
    "pos_embed",
    "patch_embed.proj.weight",
    "patch_embed.proj.bias",
    "blocks.0.norm1.weight",
    "norm.bias",
)
MMSEG = (
    "patch_embed.projection.weight",
    "stages.0.blocks.0.attn.w_msa.qkv.weight",
    "stages.0.downsample.reduction.weight",
    "norm3.weight",
)
HF_SWIN = (
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.norm.weight",
    "encoder.layers.0.blocks.0.attention.self.query.weight",
    "layernorm.weight",
)
HF_VIT = (
    "embeddings.cls_token",
    "embeddings.patch_embeddings.projection.weight",
    "encoder.layer.0.attention.attention.query.weight",
    "layernorm.weight",
)
TORCHVISION = ("features.0.0.weight", "features.1.0.norm1.weight", "norm.weight", "head.weight")


def tensors(*names: str, prefix: str = "", start: float = 0) -> dict[str, Tensor]:
    """One tensor per name, each with a number of its own."""
    return {f"{prefix}{name}": torch.tensor(start + number) for number, name in enumerate(names)}


CASES = {
    # case: (content, names left, where, prefix, dropped)
    "SimMIM pretrained": (
        {"model": tensors("mask_token", *SWIN, prefix="encoder.") | tensors("decoder.0.weight", "decoder.0.bias")},
        ("mask_token", *SWIN),
        ("model",),
        "encoder.",
        {"decoder": 2},
    ),
    "SimMIM fine-tuned": ({"model": tensors(*SWIN, "head.weight")}, (*SWIN, "head.weight"), ("model",), "", None),
    "Swin detector of detectron2": (
        {"model": tensors(*SWIN, prefix="backbone.bottom_up.") | tensors("proposal_generator.rpn_head.conv.weight")},
        SWIN,
        ("model",),
        "backbone.bottom_up.",
        {"proposal_generator": 1},
    ),
    "mmselfsup SimMIM": (
        {
            "state_dict": tensors("mask_token", *MMSEG, prefix="backbone.") | tensors("neck.decoder.0.weight"),
            "meta": {},
        },
        ("mask_token", *MMSEG),
        ("state_dict",),
        "backbone.",
        {"neck": 1},
    ),
    "mmseg segmentor": (
        {"state_dict": tensors(*MMSEG, prefix="backbone.") | tensors("decode_head.conv_seg.weight")},
        MMSEG,
        ("state_dict",),
        "backbone.",
        {"decode_head": 1},
    ),
    "MAE pretrained": (
        {"model": tensors(*VIT, "mask_token", "decoder_pos_embed", "decoder_blocks.0.norm1.weight")},
        (*VIT, "mask_token", "decoder_pos_embed", "decoder_blocks.0.norm1.weight"),
        ("model",),
        "",
        None,
    ),
    "DINO, the whole training state": (
        {
            "student": tensors(*VIT, prefix="module.backbone.", start=100),
            "teacher": tensors(*VIT, prefix="module.backbone.") | tensors("module.head.mlp.0.weight"),
            "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
            "dino_loss": {"center": torch.ones(2)},
        },
        VIT,
        ("teacher",),
        "module.backbone.",
        {"module.head": 1},
    ),
    "DINOv2, student and teacher in one dict": (
        {
            "model": tensors(*VIT, prefix="student.backbone.", start=100)
            | tensors(*VIT, prefix="teacher.backbone.")
            | tensors("teacher.dino_head.mlp.0.weight")
        },
        VIT,
        ("model",),
        "teacher.backbone.",
        {"student": len(VIT), "teacher.dino_head": 1},
    ),
    "MoCo v3": (
        {
            "state_dict": tensors(*VIT, "head.0.weight", prefix="module.base_encoder.")
            | tensors(*VIT, "head.0.weight", prefix="module.momentum_encoder.", start=100)
            | tensors("module.predictor.0.weight")
        },
        (*VIT, "head.0.weight"),
        ("state_dict",),
        "module.base_encoder.",
        {"module.momentum_encoder": len(VIT) + 1, "module.predictor": 1},
    ),
    "iBOT": ({"state_dict": tensors(*VIT, "masked_embed")}, (*VIT, "masked_embed"), ("state_dict",), "", None),
    "I-JEPA": (
        {
            "encoder": tensors(*VIT, prefix="module.", start=100),
            "predictor": tensors("module.predictor_pos_embed"),
            "target_encoder": tensors(*VIT, prefix="module."),
        },
        VIT,
        ("target_encoder",),
        "module.",
        None,
    ),
    "Hugging Face Swin with a classifier": (
        tensors(*HF_SWIN, prefix="swin.") | tensors("classifier.weight"),
        HF_SWIN,
        (),
        "swin.",
        {"classifier": 1},
    ),
    "Hugging Face Swin, bare": (tensors(*HF_SWIN), HF_SWIN, (), "", None),
    "Hugging Face ViT-MAE": (
        tensors(*HF_VIT, prefix="vit.") | tensors("decoder.decoder_layers.0.layernorm_before.weight"),
        HF_VIT,
        (),
        "vit.",
        {"decoder": 1},
    ),
    "torchvision Swin": (tensors(*TORCHVISION), TORCHVISION, (), "", None),
    "compiled and distributed": (
        {"model": tensors(*SWIN, prefix="_orig_mod.module.")},
        SWIN,
        ("model",),
        "_orig_mod.module.",
        None,
    ),
    "DeepSpeed": ({"module": tensors(*VIT), "global_steps": 7}, VIT, ("module",), "", None),
    "model before its average": (
        {"model": tensors(*VIT), "model_ema": tensors(*VIT, start=100)},
        VIT,
        ("model",),
        "",
        None,
    ),
    "image encoder of a larger model": (
        tensors(*VIT, prefix="img_encoder.") | tensors("text_encoder.token_embedding.weight"),
        VIT,
        (),
        "img_encoder.",
        {"text_encoder": 1},
    ),
    "patch embedding missing": (
        {"model": tensors("mask_token", *SWIN[2:], prefix="encoder.") | tensors("decoder.0.weight")},
        ("mask_token", *SWIN[2:]),
        ("model",),
        "encoder.",
        {"decoder": 1},
    ),
    "VISSL": (
        {"classy_state_dict": {"base_model": {"model": {"trunk": tensors(*VIT), "heads": tensors("0.clf.weight")}}}},
        VIT,
        ("classy_state_dict", "base_model", "model", "trunk"),
        "",
        None,
    ),
    "blocks that torch compiled or divided": (
        tensors(*VIT[:4], "blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module.norm1.weight", "norm.bias"),
        VIT,
        (),
        "",
        None,
    ),
    "timm's features_only": (
        tensors("stem_0.weight", "stages_0.blocks.0.norm.weight", "stages_1.downsample.0.weight", prefix="encoder."),
        ("stem.0.weight", "stages.0.blocks.0.norm.weight", "stages.1.downsample.0.weight"),
        (),
        "encoder.",
        None,
    ),
    "stages that begin alike": (
        tensors(*(f"encoder.stages.{stage}.layers.0.conv1.weight" for stage in (0, 1, 2))),
        tuple(f"encoder.stages.{stage}.layers.0.conv1.weight" for stage in (0, 1, 2)),
        (),
        "",
        None,
    ),
    "not an encoder we know": (
        {"net": tensors("conv1.weight", "fc.weight", prefix="module.")},
        ("conv1.weight", "fc.weight"),
        ("net",),
        "module.",
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_weights_are_found_and_unwrapped(case: str) -> None:
    content, names, where, prefix, dropped = CASES[case]
    found = find_weights(content)
    assert tuple(found.tensors) == names
    assert [int(tensor) for tensor in found.tensors.values()] == list(range(len(names)))  # of the right set, in order
    assert found.where == where
    assert found.prefix == prefix
    assert found.facts.get("dropped_prefixes") == dropped


def test_sets_that_were_not_taken_are_named() -> None:
    found = find_weights({"student": tensors(*VIT), "teacher": tensors(*VIT), "epoch": 3})
    assert found.facts == {"other_weights": ["student"], "epoch": 3}


def test_the_same_weights_under_two_keys_are_no_question() -> None:
    model = tensors(*VIT)
    assert find_weights({"model": model, "state_dict": model}).where == ("model",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "args": Inert("argparse.Namespace")}, "no weights found"),
        ([torch.ones(2)], "no weights found"),
        (5, "no weights found"),
        (
            {"generator": tensors(*VIT), "critic": tensors(*VIT)},
            "2 sets of weights: generator (6 tensors), critic (6 tensors)",
        ),
        ({"model": tensors(*VIT), "net": tensors(*SWIN)}, "2 sets of weights: model (6 tensors), net (6 tensors)"),
        (
            tensors(*VIT, prefix="left.") | tensors(*VIT, prefix="right."),
            "several encoders in one state dict: left., right.",
        ),
    ],
)
def test_none_or_several_is_an_error_that_names_them(content: object, words: str) -> None:
    with pytest.raises(UserError) as caught:
        find_weights(content)
    assert words in str(caught.value)
    assert "remedy:" in str(caught.value)


def test_facts_are_plain_json_without_tensors_and_optimizers() -> None:
    content = {
        "model": tensors(*VIT),
        "epoch": 99,
        "best": float("inf"),
        "config": collections.OrderedDict(SWIN={"WINDOW_SIZE": 6}),  # as subclasses of dict are read
        "args": Inert("argparse.Namespace", state={"lr": 1e-4, "out": Inert("pathlib.PosixPath", ("/", "a", "b"))}),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
        "lr_scheduler": {"last_epoch": 99},
        "meta": {"CLASSES": ("cat", "dog"), "hook": Inert("mmcv.Hook", (1, 2)), "nothing": None},
        "center": torch.ones(3),
    }
    facts = find_weights(content).facts
    assert facts == {
        "epoch": 99,
        "best": "inf",
        "config": {"SWIN": {"WINDOW_SIZE": 6}},
        "args": {"lr": 1e-4, "out": "/a/b"},
        "meta": {"CLASSES": ["cat", "dog"], "nothing": None},
    }
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_shared_parts_that_unfold_without_end_are_cut() -> None:
    """Ten lists of ten, each the same object: 10^30 items when followed."""
    laughs: object = "ha"
    for _ in range(30):
        laughs = [laughs] * 10
    endless: dict[str, object] = {}
    endless.update(dict.fromkeys(map(str, range(100)), endless))
    content = {"model": tensors(*VIT), "args": laughs, "deep": endless}
    assert find_weights(content).where == ("model",)


def test_a_whole_pickled_model_gives_its_state_dict(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Sequential(torch.nn.GELU()))
    torch.save({"model": model, "args": argparse.Namespace(epochs=1)}, tmp_path / "weights")
    checkpoint = read_checkpoint_file(tmp_path / "weights")
    assert "torch.nn.modules.batchnorm.BatchNorm2d" in checkpoint.inert
    found = find_weights(checkpoint.content)
    expected = model.state_dict()
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name], expected[name]) for name in expected)
    assert found.facts["args"] == {"epochs": 1}


def test_metadata_of_safetensors_is_a_fact() -> None:
    assert find_weights(tensors(*VIT) | {"__metadata__": {"format": "pt"}}).facts == {"metadata": {"format": "pt"}}
