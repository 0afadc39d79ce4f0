"""Layer-wise rates against SimMIM's published rule, in its own key names."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import UserError
from benchmarks.families.table import family_of

DEPTHS = (2, 2, 18, 2)


def official_name(name: str) -> str:
    """timm keeps PatchMerging at the start of the next stage; the official Swin at the end of its own."""
    part = name.split(".")
    if part[0] == "layers" and part[2] == "downsample":
        part[1] = str(int(part[1]) - 1)
    return ".".join(part)


def official_layer(name: str) -> int:
    """SimMIM's rule: embedding 0; blocks 1 to 24 in order; PatchMerging with its stage's last block; the rest 25."""
    part = name.split(".")
    if part[0] in ("patch_embed", "mask_token"):
        return 0
    if part[0] != "layers":
        return 25
    stage = int(part[1])
    if part[2] == "downsample":
        return sum(DEPTHS[: stage + 1])
    return sum(DEPTHS[:stage]) + int(part[3]) + 1


@pytest.fixture(scope="module")
def swin_base() -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = timm.create_model("swin_base_patch4_window7_224", num_classes=1000)
    return model


def test_swin_base_layers_are_simmims(swin_base: nn.Module) -> None:
    layers = family_of(swin_base).layers()
    assert layers.count == 26
    names = [name for name, _ in swin_base.named_parameters()]
    assert {name: layers.of(name) for name in names} == {name: official_layer(official_name(name)) for name in names}


def test_swin_base_groups(swin_base: nn.Module) -> None:
    layers = family_of(swin_base).layers()
    groups = parameter_groups(swin_base, 0.05, layers.of, layers.count, 0.9)
    assert len(groups) == 52, "26 layers, each with and without weight decay"
    scale = {name: group["lr_scale"] for group in groups for name in group["names"]}
    assert scale["head.fc.weight"] == scale["norm.weight"] == 1.0
    assert scale["patch_embed.proj.weight"] == pytest.approx(0.9**25)
    assert scale["layers.0.blocks.0.attn.qkv.weight"] == pytest.approx(0.9**24)
    assert scale["layers.1.downsample.reduction.weight"] == scale["layers.0.blocks.1.mlp.fc1.weight"]
    assert scale["layers.3.blocks.1.mlp.fc2.weight"] == pytest.approx(0.9)


def test_vit_layers() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=10)
    layers = family_of(model).layers()
    assert layers.count == 14
    assert [layers.of(name) for name in ("cls_token", "pos_embed", "patch_embed.proj.bias")] == [0, 0, 0]
    assert [layers.of(f"blocks.{i}.attn.qkv.weight") for i in (0, 11)] == [1, 12]
    assert layers.of("head.weight") == layers.of("norm.weight") == 13


def test_swinv2_layers_are_swins() -> None:
    """Its own tensors are the blocks' as well: scales, biases and the small network of the position bias."""
    with torch.device("meta"):
        model = timm.create_model("swinv2_base_window12_192", num_classes=1000)
    layers = family_of(model).layers()
    assert layers.count == 26
    names = [name for name, _ in model.named_parameters()]
    assert {name: layers.of(name) for name in names} == {name: official_layer(official_name(name)) for name in names}
    own = [
        "layers.2.blocks.17.attn.logit_scale",
        "layers.2.blocks.17.attn.q_bias",
        "layers.2.blocks.17.attn.cpb_mlp.0.bias",
    ]
    assert [layers.of(name) for name in own] == [22, 22, 22]


# microsoft/unilm `beit/optim_factory.py`, get_num_layer_for_vit with 14 layers for 12 blocks, applied by hand.
BEIT_LAYERS = {
    "cls_token": 0,
    "mask_token": 0,
    "pos_embed": 0,
    "patch_embed.proj.weight": 0,
    "patch_embed.proj.bias": 0,
    "rel_pos_bias.relative_position_bias_table": 13,
    "blocks.0.gamma_1": 1,
    "blocks.0.attn.q_bias": 1,
    "blocks.5.attn.relative_position_bias_table": 6,
    "blocks.11.gamma_2": 12,
    "blocks.11.mlp.fc2.weight": 12,
    "norm.weight": 13,
    "fc_norm.weight": 13,
    "head.weight": 13,
}


def test_beit_layers_are_microsofts() -> None:
    with torch.device("meta"):
        model = timm.create_model(
            "beit_base_patch16_224", num_classes=10, use_abs_pos_emb=True, use_shared_rel_pos_bias=True
        )
    layers = family_of(model).layers()
    assert layers.count == 14
    assert {name: layers.of(name) for name in BEIT_LAYERS} == BEIT_LAYERS
    names = {name for name, _ in model.named_parameters()}
    assert BEIT_LAYERS.keys() - names == {"mask_token", "norm.weight"}, (
        "timm's Beit has no mask token, and here fc_norm"
    )


def test_a_model_without_groups_needs_layer_decay_one() -> None:
    with pytest.raises(UserError, match=r"set layer_decay=1\.0"):
        family_of(timm.create_model("pit_ti_224")).layers()
