"""Every family of the table: what it can do is right, and what it cannot is refused in words."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.families.family import Family
from benchmarks.families.hierarchical.torchvision import Torchvision
from benchmarks.families.own import Own
from benchmarks.families.parts import BLOCKS, CAPABILITIES, LAYERS, MAPS, MASKING, TOKENS, Capability
from benchmarks.families.table import FAMILIES, family_named, family_of

STAGES: dict[str, Any] = {"depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 4), "embed_dim": 16, "img_size": 64}
FLAT: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3, "img_size": 64}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "Swin": ("swin_tiny_patch4_window7_224", {**STAGES, "window_size": 4}),
    "SwinV2": ("swinv2_tiny_window8_256", {**STAGES, "window_size": 4}),
    "ViT": ("vit_tiny_patch16_224", FLAT),
    "BEiT": ("beit_base_patch16_224", {**FLAT, "global_pool": "token"}),
    "EVA": ("eva02_tiny_patch14_224", {**FLAT, "patch_size": 16}),
    "video ViT": ("vjepa2_vit_large", FLAT),
    "ResNet": ("resnet10t", {}),
    "MetaFormer": ("poolformerv2_s12", {}),
    "SwinV2-CR": ("swinv2_cr_tiny_224", {**STAGES, "window_size": 2}),
}
"""A small model of each family for images of 64 px, which no name but the table's knows."""
OPTIONS: dict[str, Any] = {"shift_single_windows": False, "table_mode": "geometric-cubic"}
BY_NAME = {family.name: family for family in FAMILIES}


@cache
def tiny(name: str) -> Family:
    torch.manual_seed(0)
    timm_name, arguments = TINY[name]
    return family_of(timm.create_model(timm_name, num_classes=0, **arguments).eval())


@cache
def pixels() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def intermediates(family: Family, **options: Any) -> list[Tensor]:
    """Return timm's own maps [B, D, H/s, W/s] of `pixels`, with which all features here are compared."""
    found: list[Tensor] = family.model.forward_intermediates(pixels(), intermediates_only=True, **options)
    return found


def test_the_table_names_every_family_once() -> None:
    # Two are no models of timm: test_torchvision.py (layouts) and test_own.py (encoder) are for them.
    assert {*TINY, Torchvision.name, Own.name} == set(BY_NAME)
    assert len({family.kind for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("name", TINY)
def test_a_model_is_of_the_family_that_its_name_tells(name: str) -> None:
    assert type(tiny(name)) is family_named(TINY[name][0]) is BY_NAME[name]


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_tiny_r_s16_p8_224"])
def test_other_modules_register_vits_too(name: str) -> None:
    with torch.device("meta"):
        assert type(family_of(timm.create_model(name, num_classes=0))) is family_named(name) is BY_NAME["ViT"]


def test_a_model_of_no_family_does_what_timms_interface_does() -> None:
    other = family_of(timm.create_model("efficientnet_b0"))
    assert type(other) is family_named("efficientnet_b0") is family_named("no_such_model") is Family
    assert [capability for capability in CAPABILITIES if not other.can(capability)] == [MASKING]


@pytest.mark.parametrize("name", [name for name in TINY if not BY_NAME[name].overrides(MASKING)])
def test_a_family_without_masks_is_refused_by_the_names_of_those_with(name: str) -> None:
    able = [other for other, kind in BY_NAME.items() if kind.overrides(MASKING)]
    hidden, token = torch.ones(2, 4, 4, dtype=torch.bool), torch.zeros(1)
    for refused in (
        lambda: tiny(name).require(MASKING),
        lambda: tiny(name).masked_features(pixels(), hidden, token),
        lambda: tiny(name).mask_token_shape(),
    ):
        with pytest.raises(UserError) as caught:
            refused()
        rule = next(line for line in str(caught.value).splitlines() if "rule:" in line)
        assert rule.endswith(f"masked: {', '.join(able)}")


@pytest.mark.parametrize(
    ("name", "capability", "call"),
    [
        ("csatv2", LAYERS, lambda family: family.layers()),
        ("densenet121", BLOCKS, lambda family: family.blocks()),
        ("efficientvim_m1", TOKENS, lambda family: family.tokens([pixels()])),
        ("sequencer2d_s", MAPS, lambda family: family.map_sizes()),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_its_name(name: str, capability: Capability, call: Any) -> None:
    with torch.device("meta"):
        family = family_of(timm.create_model(name))
    if capability is not TOKENS:
        assert not family.can(capability)
    with pytest.raises(UserError, match=rf"{capability.field} = {type(family.model).__name__}\n"):
        call(family)


def able_to(capability: Capability) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [name for name in TINY if BY_NAME[name].overrides(capability)])


@able_to(MASKING)
def test_masked_features_with_nothing_hidden_are_timms(name: str) -> None:
    family = tiny(name)
    side, token = 64 // family.patch_size_px, torch.ones(family.mask_token_shape())
    nothing = torch.zeros(2, side, side, dtype=torch.bool)
    with torch.no_grad():
        found, all_hidden = (family.masked_features(pixels(), hidden, token) for hidden in (nothing, ~nothing))
        torch.testing.assert_close(found, intermediates(family, indices=1, norm=True)[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(all_hidden[0], all_hidden[1])
    last = family.levels()[-1]
    assert found.shape == (2, last.channels, 64 // last.stride_px, 64 // last.stride_px)


@able_to(MAPS)
def test_maps_are_timms_where_windows_fit(name: str) -> None:
    """Shifts along a side that one window covers are dropped, as in timm."""
    family = tiny(name)
    with torch.no_grad():
        found, expected = family.maps(pixels(), **OPTIONS), intermediates(family, indices=len(family.levels()))
    assert [(each.shape[1], 64 // each.shape[2]) for each in found] == [
        (m.channels, m.stride_px) for m in family.levels()
    ]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_hybrids_patches_have_no_maps() -> None:
    with torch.device("meta"):
        hybrid = family_of(timm.create_model("vit_tiny_r_s16_p8_224"))
    assert hybrid.can(LAYERS)
    with pytest.raises(UserError, match="strides 4, 8, 16 and 32"):
        hybrid.require(MAPS)


@able_to(TOKENS)
def test_tokens_of_the_last_block_are_timms(name: str) -> None:
    family, kept = tiny(name), []
    handle = family.blocks()[-1].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        expected = intermediates(family, indices=1)[0]
        handle.remove()
    tokens = family.tokens(kept[0])
    torch.testing.assert_close(tokens[:, family.prefix_tokens :], expected.flatten(2).mT)
    assert tokens.shape[1] == family.prefix_tokens + expected[0, 0].numel()
    assert family.has_class_token == (family.prefix_tokens > 0)


@pytest.mark.parametrize("name", [name for name in TINY if BY_NAME[name].overrides(MASKING)])
def test_every_block_is_there_once_in_the_order_of_the_forward_pass(name: str) -> None:
    family, called = tiny(name), []
    depth = TINY[name][1].get("depths", [TINY[name][1].get("depth", 4)])  # resnet10t has one block in each stage
    hooks = [
        block.register_forward_hook(lambda block, _inputs, _output: called.append(block)) for block in family.blocks()
    ]
    with torch.no_grad():
        family.model.forward_features(pixels())
    for hook in hooks:
        hook.remove()
    assert len(called) == sum(depth)
    assert called == family.blocks()


@pytest.mark.parametrize("name", ["Swin", "SwinV2", "ViT", "BEiT"])
def test_layers_are_in_the_order_of_the_forward_pass(name: str) -> None:
    """The embedding first, each block one further (microsoft/SimMIM and microsoft/unilm), the last norm after all."""
    family = tiny(name)
    layers, names = family.layers(), {id(p): name for name, p in family.model.named_parameters()}
    found = [{layers.of(names[id(p)]) for p in block.parameters()} for block in family.blocks()]
    assert found == [{number} for number in range(1, len(found) + 1)]
    assert {layers.of(f"patch_embed.{name}") for name, _ in family.model.patch_embed.named_parameters()} == {0}
    assert layers.of("norm.weight") == layers.of("head.weight") == layers.count - 1 == len(found) + 1
    assert {layers.of(name) for name in names.values()} <= set(range(layers.count))


@pytest.mark.parametrize("name", ["Swin", "SwinV2", "ViT", "BEiT"])
def test_properties_and_sizes_build_the_same_model(name: str) -> None:
    """They are timm's arguments: what they say, timm builds, tensor by tensor."""
    family = tiny(name)
    properties = family.properties()
    assert properties.pop("family") == name
    width = properties.pop("mlp_width")
    assert width == 4 * family.blocks()[0].norm1.weight.shape[0]  # type: ignore[union-attr, operator]
    arguments = {**TINY[name][1], **properties, **family.size_arguments({"pretrained_window_sizes"})}
    again: nn.Module = timm.create_model(TINY[name][0], num_classes=0, **arguments)
    shapes = {key: tensor.shape for key, tensor in family.model.state_dict().items()}
    assert {key: tensor.shape for key, tensor in again.state_dict().items()} == shapes


@pytest.mark.parametrize("name", TINY)
def test_patch_and_windows_are_those_it_was_built_with(name: str) -> None:
    family, arguments = tiny(name), TINY[name][1]
    assert family.patch_size_px == (4 if name.startswith("Swin") else 16 if "img_size" in arguments else 1)
    assert family.window_size == (arguments["window_size"] if name in ("Swin", "SwinV2") else None)
    family.check_image_size()


@pytest.mark.parametrize("name", ["ViT", "BEiT", "Swin", "SwinV2", "EVA"])
def test_a_patch_kernel_of_any_family_is_resized(name: str) -> None:
    family = tiny(name)
    kernel = family.model.patch_embed.proj.weight.detach()
    doubled = torch.nn.functional.interpolate(kernel, scale_factor=2)
    change = family.fit("patch_embed.proj.weight", doubled, "bicubic")
    assert change is not None
    assert change.tensor.shape == kernel.shape
    assert family.fit("no_such.weight", kernel, "bicubic") is None
