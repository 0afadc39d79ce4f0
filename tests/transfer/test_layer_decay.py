"""Layer-wise rates against SimMIM's published rule, in its own key names."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import UserError
from transfer.layer_decay import layers_of

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
    layers = layers_of(swin_base)
    assert layers.count == 26
    names = [name for name, _ in swin_base.named_parameters()]
    assert {name: layers.of(name) for name in names} == {name: official_layer(official_name(name)) for name in names}


def test_swin_base_groups(swin_base: nn.Module) -> None:
    layers = layers_of(swin_base)
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
    layers = layers_of(model)
    assert layers.count == 14
    assert [layers.of(name) for name in ("cls_token", "pos_embed", "patch_embed.proj.bias")] == [0, 0, 0]
    assert [layers.of(f"blocks.{i}.attn.qkv.weight") for i in (0, 11)] == [1, 12]
    assert layers.of("head.weight") == layers.of("norm.weight") == 13


def test_other_families_need_layer_decay_one() -> None:
    with pytest.raises(UserError, match=r"set layer_decay=1\.0"):
        layers_of(timm.create_model("resnet18"))
