"""Files of the official repositories: recognised by one layout, converted whole, and damage is reported by name."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from benchmarks.encoders import Architecture
from tests.transfer.checkpoint.vit_files import (
    GRID,
    LAYOUTS,
    LISTINGS,
    build,
    complaint,
    recognised,
    reference_tokens,
    small_weights,
)
from transfer.checkpoint.architecture.plain.infer_vit import infer_vit
from transfer.checkpoint.layouts.layout import Weights

OFFICIAL = sorted(name for name in LISTINGS if not name.startswith("mmpretrain"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", LISTINGS)
def test_exactly_one_layout_takes_a_file_for_its_own(name: str) -> None:
    listing = LISTINGS[name]
    meta = {key: torch.empty(shape, device="meta") for key, shape in listing.shapes().items()}
    assert recognised(meta) == [listing.layout]
    assert recognised(small_weights(listing)) == [listing.layout]


@pytest.mark.parametrize("name", LISTINGS)
def test_the_true_shapes_give_the_published_architecture(name: str) -> None:
    listing = LISTINGS[name]
    meta = {key: torch.empty(shape, device="meta") for key, shape in listing.shapes().items()}
    inferred = infer_vit(LAYOUTS[listing.layout].to_timm(meta))
    assert inferred.architecture == Architecture(**listing.architecture)
    assert inferred.image_size_px == (518 if "14" in name else 224)
    assert inferred.patch_size_px == (14 if "14" in name else 16)


@pytest.mark.parametrize("name", OFFICIAL)
def test_features_are_those_of_the_file(name: str) -> None:
    listing = LISTINGS[name]
    weights = small_weights(listing)
    model = build(LAYOUTS[listing.layout].to_timm(weights))
    images = torch.randn(2, 3, *[GRID * weights["patch_embed.proj.weight"].shape[-1]] * 2)
    with torch.no_grad():
        expected = reference_tokens(weights, images, listing.heads)
        found = model.forward_features(images)
    assert _difference(found, expected) < 1e-5
    if "fc_norm.weight" in weights:
        pooled = expected[:, 1:].mean(1)
        normed = torch.nn.functional.layer_norm(
            pooled, (128,), weights["fc_norm.weight"], weights["fc_norm.bias"], 1e-6
        )
        with torch.no_grad():
            assert _difference(model(images), normed) < 1e-5


@pytest.mark.parametrize("name", ["ibot_vit_small", "dino_vit_small"])
def test_layer_scale_by_its_older_names(name: str) -> None:
    """iBOT with init_values, DeiT III: gamma_1 scales the attention, gamma_2 the MLP."""
    listing = LISTINGS[name]
    weights = small_weights(listing)
    weights |= {f"blocks.{block}.gamma_{number}": torch.randn(128) for block in range(3) for number in (1, 2)}
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        expected = reference_tokens(weights, images, listing.heads)
        found = build(LAYOUTS[listing.layout].to_timm(weights)).forward_features(images)
    assert _difference(found, expected) < 1e-5


def test_mmpretrain_is_timm_by_other_names() -> None:
    weights = small_weights(LISTINGS["mmpretrain_vit_base"])
    renamed: Weights = {}
    for name, tensor in weights.items():
        for theirs, ours in (
            ("patch_embed.projection", "patch_embed.proj"),
            ("ffn.layers.0.0", "mlp.fc1"),
            ("ffn.layers.1", "mlp.fc2"),
            ("layers.", "blocks."),
            ("ln1", "norm1"),
            ("ln2", "norm2"),
        ):
            name = name.replace(theirs, ours)
        renamed[name.replace("norm1", "norm") if name.startswith("norm1") else name] = tensor
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        expected = reference_tokens(renamed, images, 2)
        found = build(LAYOUTS["mmpretrain-vit"].to_timm(weights)).forward_features(images)
    assert _difference(found, expected) < 1e-5


def test_moco_small_has_twelve_heads_though_its_shapes_are_vit_small() -> None:
    weights = small_weights(LISTINGS["moco_v3_vit_small"])
    inferred = infer_vit(LAYOUTS["moco-v3"].to_timm(weights))
    assert inferred.architecture.arguments["num_heads"] == 12
    weights["pos_embed"] = torch.randn_like(weights["pos_embed"])
    again = infer_vit(LAYOUTS["moco-v3"].to_timm(weights))
    assert again.architecture.arguments["num_heads"] == 6
    assert any("the tensors do not show it" in note for note in again.notes)


@pytest.mark.parametrize("damage", ["removed", "misshapen"])
@pytest.mark.parametrize("name", LISTINGS)
def test_one_damaged_tensor_is_reported_by_name(name: str, damage: str) -> None:
    listing = LISTINGS[name]
    weights, layout = small_weights(listing), LAYOUTS[listing.layout]
    assert complaint(layout, weights) == ""
    for key in _once_per_kind(weights):
        lost = set(layout.to_timm(weights)) - set(layout.to_timm({k: v for k, v in weights.items() if k != key}))
        if not lost or (damage == "removed" and key == "register_tokens"):
            continue  # no part of the encoder; without registers it is DINOv2 without registers
        damaged = {k: v for k, v in weights.items() if k != key}
        if damage == "misshapen":
            damaged[key] = torch.cat([weights[key], weights[key][:1]])
        assert recognised(damaged) == [listing.layout], key
        message = complaint(layout, damaged)
        assert any(part in message for part in lost), f"{key}: {message or 'nothing was reported'}"


def _once_per_kind(weights: Weights) -> list[str]:
    """Return the names outside the blocks and those of block 1, which may lie in chunk 0."""
    number = re.compile(r"(?:blocks|layers)\.(?:0\.)?(\d+)\.")
    return [key for key in weights if not (block := number.search(key)) or block[1] == "1"]


def _difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max())
