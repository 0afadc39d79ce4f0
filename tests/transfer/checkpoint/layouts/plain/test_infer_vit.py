"""Architectures from tensors: timm's own names come back without arguments, and what is unknown is asked for."""

from __future__ import annotations

import pytest
import timm
import torch

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from transfer.checkpoint.architecture.plain.infer_vit import infer_vit
from transfer.checkpoint.architecture.plain.vit_known import BEIT, SWIGLU, VIT, Known
from transfer.checkpoint.layouts.layout import Weights


def _meta(name: str, **arguments: object) -> Weights:
    with torch.device("meta"):
        return dict(timm.create_model(name, num_classes=0, **arguments).state_dict())


@pytest.mark.parametrize("known", VIT + SWIGLU + BEIT, ids=lambda known: known.name)
def test_timm_agrees_with_the_table(known: Known) -> None:
    with torch.device("meta"):
        model = timm.create_model(known.name, num_classes=0)
    inferred = infer_vit(dict(model.state_dict()))
    assert inferred.architecture == Architecture(name=known.name)
    assert inferred.image_size_px == model.patch_embed.img_size[0]
    assert inferred.patch_size_px == model.patch_embed.patch_size[0]
    assert known.shape.num_heads == model.blocks[0].attn.num_heads


@pytest.mark.parametrize("depth", [4, 12])
def test_only_what_differs_is_an_argument(depth: int) -> None:
    weights = _meta("vit_small_patch16_224", img_size=192, depth=depth, reg_tokens=2)
    architecture = infer_vit(weights).architecture
    if depth == 12:
        assert architecture.name == "vit_small_patch16_224"
        assert architecture.arguments == {"img_size": 192, "reg_tokens": 2}
    else:
        assert architecture.name == "vit_base_patch16_224"
        assert architecture.arguments["depth"] == 4
    rebuilt = _meta(architecture.name, **architecture.arguments)
    assert {name: tensor.shape for name, tensor in rebuilt.items()} == {n: t.shape for n, t in weights.items()}


@pytest.mark.parametrize("name", ["vit_so400m_patch14_siglip_gap_224", "vit_medium_patch16_gap_240"])
def test_sizes_without_a_row_in_the_table(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    architecture = infer_vit(dict(model.state_dict())).architecture
    with torch.device("meta"):
        rebuilt = timm.create_model(architecture.name, num_classes=0, **architecture.arguments)
    assert {n: t.shape for n, t in rebuilt.state_dict().items()} == {n: t.shape for n, t in model.state_dict().items()}
    assert rebuilt.blocks[0].attn.num_heads == model.blocks[0].attn.num_heads


def test_heads_that_tensors_do_not_tell() -> None:
    weights = _meta("vit_base_patch16_224", embed_dim=96, num_heads=4, depth=1)
    with pytest.raises(UserError, match=r"unknown for width 96[^$]*config\.json or mimbench's FILE\.json beside it"):
        infer_vit(weights)
    inferred = infer_vit(weights, heads=4)
    assert inferred.architecture.arguments["num_heads"] == 4
    assert any("as given" in note for note in inferred.notes)
    assert any("LayerNorm eps of 1e-6" in note for note in inferred.notes), "nor do they show the eps"


def test_heads_that_the_tables_tell() -> None:
    weights = _meta("beit_base_patch16_224", embed_dim=96, num_heads=4, depth=1)
    assert infer_vit(weights).architecture.arguments["num_heads"] == 4
    with pytest.raises(UserError, match="the columns of relative_position_bias_table"):
        infer_vit(weights, heads=3)


def test_a_majority_of_blocks_outvotes_a_damaged_one() -> None:
    weights = _meta("vit_tiny_patch16_224", depth=3)
    weights["blocks.0.mlp.fc1.weight"] = torch.empty(700, 192, device="meta")
    assert infer_vit(weights).architecture.arguments["mlp_ratio"] == 4.0


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("patch_embed.proj.weight", r"patch_embed.proj.weight = \(missing\)"),
        ("pos_embed", r"pos_embed = \(missing\)"),
        ("cls_token", "cls_token is missing"),
    ],
)
def test_what_an_encoder_cannot_be_without(lost: str, named: str) -> None:
    weights = _meta("vit_tiny_patch16_224")
    del weights[lost]
    with pytest.raises(UserError, match=named):
        infer_vit(weights)


def test_dinov2_without_its_class_token_or_registers() -> None:
    weights = _meta("vit_small_patch14_reg4_dinov2", depth=1)
    without_registers = {name: tensor for name, tensor in weights.items() if name != "reg_token"}
    assert any("no reg_token" in note for note in infer_vit(without_registers).notes)
    assert not any("no reg_token" in note for note in infer_vit(weights).notes)
    del weights["cls_token"]
    with pytest.raises(UserError, match=r"cls_token = \(missing\)"):
        infer_vit(weights)
    pooled = _meta("vit_medium_patch16_reg4_gap_256", depth=1)
    assert infer_vit(pooled).architecture.arguments["reg_tokens"] == 4, "timm has registers without a class token"


def test_a_beit_without_positions_is_refused() -> None:
    weights = _meta("beit_base_patch16_224", depth=1, use_rel_pos_bias=False, use_shared_rel_pos_bias=True)
    del weights["rel_pos_bias.relative_position_bias_table"]
    with pytest.raises(UserError, match=r"rel_pos_bias\.relative_position_bias_table"):
        infer_vit(weights)


def test_tables_and_positions_must_agree() -> None:
    weights = _meta("beit_base_patch16_224", depth=1, use_abs_pos_emb=True)
    weights["pos_embed"] = torch.empty(1, 1 + 9, 768, device="meta")
    with pytest.raises(UserError, match="patches a side"):
        infer_vit(weights)
