"""Layouts of Swin and SwinV2 against listings of true checkpoints: recognised, read whole, written back bit by bit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import timm
import torch
from timm.models.swin_transformer import checkpoint_filter_fn
from timm.models.swin_transformer_v2 import checkpoint_filter_fn as checkpoint_filter_fn_v2
from torch import Tensor

from benchmarks.errors import UserError, WorkFailed
from tests.support.random_weights import randomise
from tests.transfer.checkpoint import swin_zoo as zoo
from tests.transfer.checkpoint.swin_zoo import LAYOUTS, LISTINGS, TINY
from transfer.checkpoint.architecture.hierarchical.infer_swin import infer_swin
from transfer.checkpoint.layouts.hierarchical.swin import from_unfold, to_unfold
from transfer.checkpoint.layouts.layout import Layout, Weights
from transfer.encoder.proof.loading import load_encoder, require_complete


@pytest.mark.parametrize("name", LISTINGS)
def test_exactly_one_layout_recognises_a_true_checkpoint(name: str) -> None:
    assert zoo.recognise(zoo.listing(name)).name == LISTINGS[name]


def test_every_layout_has_a_listing_and_can_be_written() -> None:
    assert set(LISTINGS.values()) == set(LAYOUTS)
    assert all(layout.from_timm for layout in LAYOUTS.values())


@pytest.mark.parametrize("name", LISTINGS)
def test_a_true_checkpoint_fills_a_timm_model_exactly(name: str) -> None:
    listed = {key: torch.empty(shape, device="meta") for key, shape in zoo.listing(name).items()}
    weights = LAYOUTS[LISTINGS[name]].to_timm(listed)
    architecture = infer_swin(weights).architecture
    with torch.device("meta"):
        model = timm.create_model(architecture.name, num_classes=0, **architecture.arguments)
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert {key: tensor.shape for key, tensor in zoo.encoder_only(weights).items()} == expected


@pytest.mark.parametrize("name", LISTINGS)
def test_there_and_back_is_bit_equal(name: str) -> None:
    layout, original = LAYOUTS[LISTINGS[name]], _narrow(name)
    assert layout.from_timm is not None
    if name == "microsoft-simmim-swinv2":  # an older name of the same tensors
        original = {key.replace("rpe_mlp", "cpb_mlp"): tensor for key, tensor in original.items()}
    back = layout.from_timm(layout.to_timm(original))
    assert back.keys() == original.keys()
    assert [key for key in original if not torch.equal(back[key], original[key])] == []


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_timm_weights_survive_every_layout_bit_by_bit(layout: Layout) -> None:
    assert layout.from_timm is not None
    weights = _random_timm(layout.family)
    written = layout.from_timm(weights)
    assert zoo.recognise(written) is layout
    back = layout.to_timm(written)
    assert back.keys() == weights.keys()
    assert [key for key in weights if not torch.equal(back[key], weights[key])] == []


@pytest.mark.parametrize("name", LISTINGS)
def test_a_tensor_that_is_missing_is_missing_afterwards(name: str) -> None:
    layout, whole = LAYOUTS[LISTINGS[name]], _narrow(name)
    full = layout.to_timm(whole)
    for key in _one_of_each_kind(whole):
        rest = {other: tensor for other, tensor in whole.items() if other != key}
        found = zoo.recognise(rest).to_timm(rest)
        assert full.keys() - found.keys(), key
        invented = found.keys() - full.keys()
        assert all(re.search(r"attn\.[qkv]\.(weight|bias)$", extra) for extra in invented), key


@pytest.mark.parametrize("name", LISTINGS)
@pytest.mark.parametrize("dimension", [0, -1])
def test_a_tensor_of_another_shape_is_seen_afterwards(name: str, dimension: int) -> None:
    layout, whole = LAYOUTS[LISTINGS[name]], _narrow(name)
    full = layout.to_timm(whole)
    for key in _one_of_each_kind(whole):
        odd = torch.cat([whole[key], whole[key].narrow(dimension, 0, 1)], dim=dimension)
        changed = {**whole, key: odd}
        found = zoo.recognise(changed).to_timm(changed)
        assert any(key not in found or found[key].shape != full[key].shape for key in full), key


@pytest.mark.parametrize("layout_name", LAYOUTS)
def test_the_load_report_names_what_a_layout_could_not_fill(layout_name: str) -> None:
    layout = LAYOUTS[layout_name]
    assert layout.from_timm is not None
    written = layout.from_timm(_random_timm(layout.family))
    lost = next(key for key in written if re.search(r"1\.(qkv|attn\.qkv|.*w_msa\.qkv|.*key)\.weight$", key))
    del written[lost]
    model = zoo.timm_model(TINY, 2 if layout.family == "swinv2" else 1)
    report = load_encoder(model, zoo.encoder_only(layout.to_timm(written)), layout.name)
    assert [name.rsplit(".attn.", 1)[-1] for name in report.missing] == ["qkv.weight"]
    with pytest.raises(WorkFailed, match=re.escape(report.missing[0])):
        require_complete(report, "a damaged file")


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_microsoft_is_read_as_timm_itself_reads_it(family: str) -> None:
    model = randomise(zoo.timm_model(TINY, 2 if family == "swinv2" else 1))
    original = _as_microsoft(dict(model.state_dict()))
    theirs = (checkpoint_filter_fn_v2 if family == "swinv2" else checkpoint_filter_fn)(dict(original), model)
    ours = LAYOUTS[f"microsoft-{family}"].to_timm(original)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_detectron2_differs_from_microsoft_by_its_norms() -> None:
    weights = _random_timm("swin")
    dense = {re.sub(r"^norm\.", "norm2.", key): tensor for key, tensor in _as_microsoft(weights).items()}
    early = {f"norm{i}.weight": torch.randn(24 * 2**i) for i in range(2)}
    layout = zoo.recognise({**dense, **early})
    assert layout.name == "detectron2-swin"
    read = layout.to_timm({**dense, **early})
    assert {key: tensor for key, tensor in read.items() if not key.startswith("head.")}.keys() == weights.keys()
    assert torch.equal(read["norm.weight"], weights["norm.weight"])
    assert torch.equal(read["head.output_norms.1.weight"], early["norm1.weight"])


def test_mmselfsup_is_read_as_weights_renamed_by_hand() -> None:
    weights = _random_timm("swin")
    renamed = {_mm_name(key): _mm_order(key, tensor) for key, tensor in _as_microsoft(weights).items()}
    renamed["mask_token"] = torch.randn(1, 1, 24)
    read = zoo.recognise(renamed).to_timm(renamed)
    assert torch.equal(read.pop("mask_token"), renamed["mask_token"])
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[key], weights[key]) for key in weights)


def test_unfold_lists_patches_row_by_row_within_each_channel() -> None:
    image = torch.arange(12.0).reshape(1, 3, 2, 2)  # [B, C, row, column]
    unfolded = torch.nn.functional.unfold(image, 2, stride=2).flatten()
    corners = [image[0, :, row, column] for column in (0, 1) for row in (0, 1)]  # Swin's order
    assert torch.equal(from_unfold(unfolded), torch.cat(corners))
    assert torch.equal(to_unfold(torch.cat(corners)), unfolded)


def test_torchvision_ignores_the_bias_of_keys_and_so_do_we() -> None:
    foreign = zoo.of_torchvision(TINY, 2)
    name = "features.1.0.attn.qkv.bias"
    images = torch.randn(1, 3, TINY.image_size_px, TINY.image_size_px)
    with torch.no_grad():
        before = foreign.features(images)
        foreign.model.get_parameter(name)[24:48] += 1
        assert torch.equal(foreign.features(images), before)
    read = LAYOUTS["torchvision-swinv2"].to_timm(dict(foreign.model.state_dict()))
    assert torch.equal(read["layers.0.blocks.0.attn.q_bias"], foreign.saved[name][:24])
    assert torch.equal(read["layers.0.blocks.0.attn.v_bias"], foreign.saved[name][48:])
    assert not [key for key in read if key.endswith("k_bias")]


def test_a_checkpoint_with_two_last_norms_is_refused() -> None:
    weights = _narrow("detectron2-swin-tiny")
    weights["norm.weight"] = weights["norm3.weight"].clone()
    with pytest.raises(UserError, match=r"norm\.weight"):
        zoo.recognise(weights).to_timm(weights)


def test_video_and_wrapped_checkpoints_are_no_swin_of_ours() -> None:
    from torchvision.models.video import swin3d_t

    with torch.device("meta"):
        video = {key: tuple(tensor.shape) for key, tensor in swin3d_t().state_dict().items()}
    wrapped = {f"module.{key}": shape for key, shape in zoo.listing("microsoft-swin-tiny").items()}
    vit = {"patch_embed.proj.weight": (768, 3, 16, 16), "blocks.0.attn.qkv.weight": (2304, 768)}
    for shapes in (video, wrapped, vit):
        assert not [layout.name for layout in LAYOUTS.values() if layout.recognises(shapes)]


def test_a_headless_microsoft_file_is_not_taken_for_timm() -> None:
    shapes = {key: shape for key, shape in zoo.listing("microsoft-swin-tiny").items() if _is_parameter(key)}
    assert zoo.recognise(shapes).name == "microsoft-swin"
    first = {key: shape for key, shape in shapes.items() if not key.startswith("layers.0.downsample")}
    assert zoo.recognise(first).name == "microsoft-swin"


def _is_parameter(key: str) -> bool:
    return not key.startswith("head") and key.rsplit(".", 1)[-1] not in zoo.NOT_ENCODER


def _narrow(name: str) -> Weights:
    """Return random tensors with a listing's names and its widths divided by eight."""
    generator = torch.Generator().manual_seed(5)
    shapes = {
        key: tuple(side if side <= 16 else side // 8 for side in shape) for key, shape in zoo.listing(name).items()
    }
    weights = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    if name == "torchvision-swinv2-tiny":  # its keys have no bias: that third is zero
        for key, tensor in weights.items():
            if key.endswith("qkv.bias"):
                tensor.chunk(3)[1].zero_()
    return weights


def _one_of_each_kind(weights: Weights) -> Iterator[str]:
    """Yield one name of each kind of tensor: numbers aside, they are treated alike."""
    seen: set[str] = set()
    for key in reversed(weights):
        kind = re.sub(r"\d+", "#", key) if re.search(r"(blocks|features)\.", key) else key
        kind += key.rsplit(".", 2)[-2] if "mlp" in key else ""
        if kind not in seen:
            seen.add(kind)
            yield key


def _random_timm(family: str) -> Weights:
    return dict(randomise(zoo.timm_model(TINY, 2 if family == "swinv2" else 1)).state_dict())


def _as_microsoft(weights: Weights) -> Weights:
    def end(match: re.Match[str]) -> str:
        return f"layers.{int(match[1]) - 1}.downsample"

    return {re.sub(r"layers\.(\d)\.downsample", end, key): tensor for key, tensor in weights.items()}


def _mm_name(key: str) -> str:
    pairs = {"proj.": "projection."} if key.startswith("patch_embed") else {}
    pairs |= {"layers.": "stages.", "attn.": "attn.w_msa.", "mlp.fc1": "ffn.layers.0.0", "mlp.fc2": "ffn.layers.1"}
    for ours, theirs in pairs.items():
        key = key.replace(ours, theirs, 1)
    return re.sub(r"^norm\.", "norm2.", key)


def _mm_order(key: str, tensor: Tensor) -> Tensor:
    if "downsample" not in key:
        return tensor
    width = tensor.shape[-1] // 4
    corner = [0, 2, 1, 3]  # of (row, column) = 00, 01, 10, 11 among Swin's 00, 10, 01, 11
    return tensor[..., [corner[k] * width + channel for channel in range(width) for k in range(4)]]
