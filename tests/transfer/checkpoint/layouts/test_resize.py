"""Every kind of tensor that another size, patch or number of channels changes is resized and never dropped."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from benchmarks.errors import WorkFailed
from benchmarks.families.resize import adapt_channels, resize_positions
from benchmarks.families.windows.position_tables import resize_table
from transfer.encoder.proof.fit import fit_weights
from transfer.encoder.proof.loading import load_encoder, require_complete

TABLE = "relative_position_bias_table"
SHARED = f"rel_pos_bias.{TABLE}"


def model(name: str, **arguments: Any) -> nn.Module:
    """Return a narrow model whose every tensor is random (timm starts many at 0)."""
    built: nn.Module = timm.create_model(name, num_classes=0, **arguments)
    torch.manual_seed(11)
    for parameter in built.parameters():
        nn.init.normal_(parameter)
    return built


def swin(**arguments: Any) -> nn.Module:
    small = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
    return model("swin_tiny_patch4_window7_224", **{**small, **arguments})


def vit(name: str = "vit_tiny_patch16_224", **arguments: Any) -> nn.Module:
    return model(name, **{"embed_dim": 24, "depth": 2, "num_heads": 3, **arguments})


def beit(**arguments: Any) -> nn.Module:
    """Return SimMIM's kind of ViT: no absolute positions, relative ones."""
    return vit("beit_base_patch16_224", **{"use_abs_pos_emb": False, "init_values": 0.1, **arguments})


def prove(target: nn.Module, weights: dict[str, Tensor]) -> None:
    require_complete(load_encoder(target, weights, "test"), "x")


def test_what_fits_is_passed_on_as_it_is() -> None:
    weights = swin().state_dict()
    fitted = fit_weights(weights, swin())
    assert fitted.resized == ()
    assert all(fitted.weights[name] is tensor for name, tensor in weights.items())
    assert fitted.weights.keys() == weights.keys()


@pytest.mark.parametrize("mode", ["geometric-cubic", "bicubic", "linear"])
def test_every_table_of_a_swin_follows_its_window(mode: Any) -> None:
    """SimMIM's Swin-B: pretrained at 192 with window 6, fine-tuned at 224 with window 7."""
    weights, target = swin(img_size=192, window_size=6).state_dict(), swin()
    fitted = fit_weights(weights, target, mode)
    tables = [name for name in weights if name.endswith(TABLE)]
    assert [(record.name, record.mode) for record in fitted.resized] == [(name, mode) for name in tables]
    assert {(record.from_shape, record.to_shape) for record in fitted.resized} == {
        ((121, heads), (169, heads)) for heads in (1, 2, 4, 8)
    }
    assert fitted.weights[tables[0]].equal(resize_table(weights[tables[0]], (6, 6), (7, 7), mode))
    assert all(fitted.weights[name] is weights[name] for name in weights.keys() - set(tables))
    prove(target, fitted.weights)


def test_each_stage_has_its_own_window() -> None:
    """SimMIM's Swin-L: 12 -> 14, but the last map is a single window of 6 tokens a side, then 7."""
    weights = swin(img_size=192, window_size=12).state_dict()
    target = swin(img_size=224, window_size=14)
    fitted = fit_weights(weights, target)
    assert {record.from_shape[0]: record.to_shape[0] for record in fitted.resized} == {23**2: 27**2, 11**2: 13**2}
    prove(target, fitted.weights)


def test_rectangular_windows() -> None:
    source, target = (swin(img_size=(32 * h, 32 * w), window_size=(h, w)) for h, w in ((6, 12), (7, 14)))
    name = f"layers.1.blocks.1.attn.{TABLE}"
    fitted = fit_weights(source.state_dict(), target)
    expected = resize_table(source.state_dict()[name], (6, 12), (7, 14), "geometric-cubic")
    assert fitted.weights[name].equal(expected)
    prove(target, fitted.weights)
    square = fit_weights(swin().state_dict(), target)
    assert square.weights[name].equal(resize_table(swin().state_dict()[name], (7, 7), (7, 14), "geometric-cubic"))


@pytest.mark.parametrize("shared", [True, False])
def test_beit_tables_keep_the_class_tokens_rows(shared: bool) -> None:
    kind = {"use_shared_rel_pos_bias": shared, "use_rel_pos_bias": not shared}
    weights, target = beit(**kind).state_dict(), beit(img_size=256, **kind)
    fitted = fit_weights(weights, target)
    assert len(fitted.resized) == (1 if shared else 2)
    for record in fitted.resized:
        assert (record.from_shape, record.to_shape) == ((27**2 + 3, 3), (31**2 + 3, 3))
        assert fitted.weights[record.name][-3:].equal(weights[record.name][-3:])
    prove(target, fitted.weights)


def test_a_shared_table_is_copied_to_every_layer() -> None:
    """SimMIM's ViT: pretrained with one table, fine-tuned with one in each layer; here at another size as well."""
    weights = beit(use_shared_rel_pos_bias=True, use_rel_pos_bias=False).state_dict()
    for side, mode in ((224, "shared-to-layers"), (256, "shared-to-layers, geometric-cubic")):
        target = beit(img_size=side, use_rel_pos_bias=True)
        fitted = fit_weights(weights, target)
        assert [(record.name, record.mode) for record in fitted.resized] == [
            (f"blocks.{layer}.attn.{TABLE}", mode) for layer in range(2)
        ]
        grid = (side // 16, side // 16)
        expected = resize_table(weights[SHARED], (14, 14), grid, "geometric-cubic")
        assert all(fitted.weights[record.name].equal(expected) for record in fitted.resized)
        prove(target, fitted.weights)


def test_only_equal_tables_of_layers_become_a_shared_one() -> None:
    weights = beit(use_rel_pos_bias=True).state_dict()
    target = beit(use_shared_rel_pos_bias=True, use_rel_pos_bias=False)
    assert fit_weights(weights, target).weights == weights, "they differ: which one should it be?"
    with pytest.raises(WorkFailed, match=f"missing from the checkpoint: {SHARED}"):
        prove(target, fit_weights(weights, target).weights)
    names = [f"blocks.{layer}.attn.{TABLE}" for layer in range(2)]
    equal = {**weights, names[1]: weights[names[0]].clone()}
    fitted = fit_weights(equal, target)
    assert [record.mode for record in fitted.resized] == ["layers-to-shared"]
    assert fitted.weights[SHARED].equal(weights[names[0]])
    prove(target, fitted.weights)


@pytest.mark.parametrize(("arguments", "prefix"), [({}, 1), ({"reg_tokens": 4}, 5), ({"no_embed_class": True}, 0)])
@pytest.mark.parametrize("size", [(288, 288), (192, 320)])
def test_positions_follow_the_grid(arguments: dict[str, Any], prefix: int, size: tuple[int, int]) -> None:
    """timm's function without its antialiasing; class and register tokens keep theirs."""
    weights, target = vit(**arguments).state_dict(), vit(img_size=size, **arguments)
    fitted = fit_weights(weights, target)
    positions = weights["pos_embed"]
    grid = [side // 16 for side in size]
    expected = resample_abs_pos_embed(positions, grid, num_prefix_tokens=prefix, antialias=False)
    assert fitted.weights["pos_embed"].equal(expected)
    assert fitted.weights["pos_embed"][:, :prefix].equal(positions[:, :prefix])
    assert [(record.name, record.mode) for record in fitted.resized] == [("pos_embed", "bicubic")]
    prove(target, fitted.weights)


def test_positions_on_a_rectangle_become_those_on_another() -> None:
    positions = torch.randn(1, 1 + 6 * 12, 8)
    image = positions[:, 1:].transpose(1, 2).reshape(1, 8, 6, 12)
    expected = interpolate(image, (7, 14), mode="bicubic").flatten(2).transpose(1, 2)
    assert resize_positions(positions, (6, 12), (7, 14), 1)[:, 1:].equal(expected)
    weights = vit(img_size=(96, 192)).state_dict()
    fitted = fit_weights(weights, vit(img_size=(112, 224)))
    assert fitted.weights["pos_embed"].equal(resize_positions(weights["pos_embed"], (6, 12), (7, 14), 1))


def test_a_larger_patch_embeds_the_enlarged_image_alike() -> None:
    """The definition of FlexiViT's resize (arXiv:2212.08013, 3.4): <x, w> = <resize(x), new w> when patches grow."""
    weights, target = vit(patch_size=14, img_size=224).state_dict(), vit(patch_size=16, img_size=256)
    fitted = fit_weights(weights, target)
    record, kernel = fitted.resized[0], fitted.weights["patch_embed.proj.weight"]
    assert (record.name, record.mode) == ("patch_embed.proj.weight", "pseudo-inverse")
    assert (record.from_shape, record.to_shape) == ((24, 3, 14, 14), (24, 3, 16, 16))
    patches = torch.randn(5, 3, 14, 14)
    enlarged = interpolate(patches, (16, 16), mode="bicubic", antialias=True)
    before = conv2d(patches, weights["patch_embed.proj.weight"])
    torch.testing.assert_close(conv2d(enlarged, kernel), before, rtol=0, atol=1e-3)
    prove(target, fitted.weights)


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_channels_are_adapted_as_timm_does(channels: int) -> None:
    weights, target = swin().state_dict(), swin(in_chans=channels)
    fitted = fit_weights(weights, target)
    kernel = weights["patch_embed.proj.weight"]
    torch.testing.assert_close(
        fitted.weights["patch_embed.proj.weight"], adapt_input_conv(channels, kernel), rtol=1e-6, atol=1e-6
    )
    mode = "channels-summed" if channels == 1 else "channels-repeated"
    assert [(record.to_shape, record.mode) for record in fitted.resized] == [((8, channels, 4, 4), mode)]
    prove(target, fitted.weights)


@pytest.mark.parametrize(("have", "want"), [(3, 1), (1, 3), (3, 6)])
def test_an_image_of_equal_channels_is_embedded_as_before(have: int, want: int) -> None:
    kernel, grey = torch.randn(8, have, 4, 4), torch.randn(2, 1, 4, 4)
    before = conv2d(grey.expand(-1, have, -1, -1), kernel)
    after = conv2d(grey.expand(-1, want, -1, -1), adapt_channels(kernel, want))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_channels_and_patch_at_once() -> None:
    weights, target = vit(patch_size=14, img_size=224).state_dict(), vit(patch_size=16, img_size=256, in_chans=1)
    fitted = fit_weights(weights, target)
    assert [record.mode for record in fitted.resized] == ["channels-summed, pseudo-inverse"]
    prove(target, fitted.weights)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (f"layers.0.blocks.0.attn.{TABLE}", (121, 5)),  # other heads
        (f"layers.0.blocks.0.attn.{TABLE}", (120, 1)),  # no window has 120 offsets
        (f"layers.0.blocks.0.attn.{TABLE}", (13 * 27, 1)),  # 7 x 14 or 14 x 7?
        ("patch_embed.proj.weight", (9, 3, 4, 4)),  # other width
        ("patch_embed.proj.weight", (8, 48)),
        ("layers.0.blocks.0.mlp.fc1.weight", (16, 8)),
    ],
)
def test_what_no_rule_fits_is_left_for_the_report(name: str, shape: tuple[int, ...]) -> None:
    weights, target = {**swin().state_dict(), name: torch.ones(shape)}, swin()
    fitted = fit_weights(weights, target)
    assert fitted.weights[name] is weights[name]
    assert fitted.resized == ()
    with pytest.raises(WorkFailed, match="of another shape: " + name):
        prove(target, fitted.weights)


def test_positions_without_a_grid_are_left_alone() -> None:
    """DeiT's distillation token makes 198 of 197; 197 patches form no grid."""
    weights = {**vit().state_dict(), "pos_embed": torch.ones(1, 198, 24)}
    assert fit_weights(weights, vit()).resized == ()


def test_swinv2_needs_no_resize_only_the_window_it_was_pretrained_with() -> None:
    """The same offsets get the same bias in a larger window when they are measured in the pretrained window."""
    small = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)}
    before = model("swinv2_tiny_window8_256", **small)
    after = model(
        "swinv2_tiny_window8_256", img_size=384, window_size=12, pretrained_window_sizes=(8, 8, 8, 8), **small
    )
    plain = model("swinv2_tiny_window8_256", img_size=384, window_size=12, **small)
    for target in (after, plain):
        assert fit_weights(before.state_dict(), target).resized == ()
        prove(target, before.state_dict())
    torch.testing.assert_close(bias(after, 12)[4:19, 4:19], bias(before, 8))
    assert not bias(plain, 12)[4:19, 4:19].allclose(bias(before, 8))


def bias(swinv2: Any, window: int) -> Tensor:
    """Return what the first block's MLP says for each offset of a window: [2w - 1, 2w - 1]."""
    attn = swinv2.layers[0].blocks[0].attn
    with torch.no_grad():
        values: Tensor = attn.cpb_mlp(attn.relative_coords_table)
    return values.reshape(2 * window - 1, 2 * window - 1)
