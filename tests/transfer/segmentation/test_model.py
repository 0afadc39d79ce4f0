"""The model against mmseg's own Swin, and its parameter groups against those of classification."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.config import load_recipe
from benchmarks.encoders import Architecture, Normalisation
from benchmarks.engine.optim import parameter_groups
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from tests.support.libraries import library
from transfer.encoder.dense import build_encoder
from transfer.encoder.head_maps import HeadMaps
from transfer.encoder.layer_decay import groups_around
from transfer.segmentation.model import build_model, fit_batch_norms, mmseg_scope, timm_model
from transfer.segmentation.plans.upernet import upernet
from transfer.segmentation.recipe import SegmentationRecipe

WIDTH, DEPTHS, HEADS = 16, [2, 2, 2, 2], [1, 2, 4, 8]
NORMALISATION = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def recipe(*overrides: str) -> SegmentationRecipe:
    return load_recipe(SegmentationRecipe, "transfer", "digit_scenes_finetune", overrides).config


def small_swin(recipe: SegmentationRecipe) -> Any:
    arguments = {"embed_dim": WIDTH, "depths": DEPTHS, "num_heads": HEADS}
    encoder = build_encoder(Architecture(name="swin_tiny_patch4_window7_224", arguments=arguments))
    backbone = HeadMaps(encoder)
    model = build_model(upernet(recipe, backbone.channels, 11), backbone, NORMALISATION)
    return fit_batch_norms(model, torch.device("cpu"), 2)


def copy_swin(ours: HeadMaps, theirs: Any) -> None:
    """Copy our weights, by module, into mmseg's Swin."""
    swin: Any = ours.encoder.backbone

    def copy(to: nn.Module, of: nn.Module) -> None:
        to.load_state_dict(of.state_dict())

    copy(theirs.patch_embed.projection, swin.patch_embed.proj)
    copy(theirs.patch_embed.norm, swin.patch_embed.norm)
    for level, (stage, mine) in enumerate(zip(theirs.stages, swin.layers, strict=True)):
        getattr(theirs, f"norm{level}").load_state_dict(ours.norms[level].state_dict())
        if level:
            merge, merging = theirs.stages[level - 1].downsample, mine.downsample
            # nn.Unfold, which mmseg uses, has the channel before the place in the 2x2 patch; ours is the other order,
            # which also counts columns first.
            order = torch.arange(4 * WIDTH * 2 ** (level - 1)).view(4, -1)[[0, 2, 1, 3]].t().flatten()
            merge.norm.weight.data, merge.norm.bias.data = (
                part.detach()[order] for part in (merging.norm.weight, merging.norm.bias)
            )
            merge.reduction.weight.data = merging.reduction.weight.detach()[:, order]
        for block, own in zip(stage.blocks, mine.blocks, strict=True):
            for to, of in ((block.norm1, own.norm1), (block.norm2, own.norm2), (block.ffn.layers[0][0], own.mlp.fc1)):
                copy(to, of)
            copy(block.ffn.layers[1], own.mlp.fc2)
            attention = block.attn.w_msa
            copy(attention.qkv, own.attn.qkv)
            copy(attention.proj, own.attn.proj)
            table = own.attn.relative_position_bias_table.detach()
            attention.relative_position_bias_table.data = aligned(table, own.attn, attention)


def aligned(table: Tensor, ours: Any, theirs: Any) -> Tensor:
    """Return our table in the order that gives mmseg's module the same bias for every pair of tokens."""
    found = torch.empty_like(table)
    found[theirs.relative_position_index.flatten()] = table[ours.relative_position_index.flatten()]
    return found


@pytest.mark.parametrize("size", [(128, 128), (101, 157), (512, 512)])
def test_logits_are_those_of_mmsegs_own_swin(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    model = small_swin(recipe())
    with mmseg_scope(), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        swin = library("mmseg.models", "onedl-mmsegmentation").SwinTransformer
        theirs = swin(embed_dims=WIDTH, depths=DEPTHS, num_heads=HEADS, window_size=7)
    copy_swin(model.backbone, theirs)
    model.eval()
    theirs.eval()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        for head in (model.decode_head, model.auxiliary_head):
            ours, expected = head(model.backbone(images)), head(theirs(images))
            assert ours.std() > 0.05
            assert (ours - expected).abs().max() < 1e-4


@pytest.mark.parametrize(("name", "depth"), [("swin_base_patch4_window7_224", 26), ("vit_base_patch16_224", 14)])
def test_rates_and_decay_of_the_encoder_are_those_of_classification(name: str, depth: int) -> None:
    with torch.device("meta"):
        encoder = build_encoder(Architecture(name=name))
        backbone = HeadMaps(encoder)
        model = build_model(upernet(recipe(), backbone.channels, 150), backbone, NORMALISATION)
    alone = timm_model(model)
    layers = family_of(alone).layers()
    assert layers.count == depth
    expected = settings(parameter_groups(alone, 0.05, layers.of, layers.count, 0.9))
    found = settings(groups_around(model, alone, 0.05, 0.9))
    names = {name for name, parameter in alone.named_parameters() if parameter.requires_grad}
    assert names == {name for name, _ in alone.named_parameters() if not name.startswith("norm.")}
    prefix = "backbone.encoder.backbone."
    assert {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)} == expected
    heads = {name: value for name, value in found.items() if not name.startswith(prefix)}
    assert {scale for scale, _ in heads.values()} == {1.0}
    assert heads["decode_head.conv_seg.weight"] == (1.0, 0.05)
    assert heads["decode_head.conv_seg.bias"] == (1.0, 0.0)
    assert heads["auxiliary_head.convs.0.bn.weight"] == (1.0, 0.0)


def settings(groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    return {name: (group["lr_scale"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_swin_bases_head_has_mmsegs_channels() -> None:
    with torch.device("meta"):
        backbone = HeadMaps(build_encoder(Architecture(name="swin_base_patch4_window7_224")))
    plan = upernet(
        load_recipe(SegmentationRecipe, "transfer", "ade20k_upernet_swin_base").config, backbone.channels, 150
    )
    decode, auxiliary = plan.model["decode_head"], plan.model["auxiliary_head"]
    # mmsegmentation, configs/swin/swin-base-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py
    assert (decode["in_channels"], decode["channels"]) == ([128, 256, 512, 1024], 512)
    assert (auxiliary["in_channels"], auxiliary["channels"], auxiliary["in_index"]) == (512, 256, 2)
    assert auxiliary["loss_decode"]["loss_weight"] == 0.4


def test_nothing_is_registered() -> None:
    registry = library("mmseg.registry", "onedl-mmsegmentation").MODELS
    small_swin(recipe())
    before = set(registry.module_dict)
    small_swin(recipe())
    assert set(registry.module_dict) == before
    assert "HeadMaps" not in before


def test_batch_norm_of_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 images per process"):
        fit_batch_norms(small_swin(recipe()), torch.device("cpu"), 1)
