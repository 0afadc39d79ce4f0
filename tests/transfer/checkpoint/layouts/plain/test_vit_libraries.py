"""Models of timm, transformers and torchvision, saved their own way, read by us: same features, back bit-equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.errors import UserError
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.checkpoint.vit_files import LAYOUTS, build, complaint, recognised
from transfer.checkpoint.layouts.layout import Weights

transformers = library("transformers", "transformers")
SIZE: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 384,
    "image_size": 48,
    "patch_size": 16,
}
# transformers' default of 1e-12 stands in config.json only, and timm has no argument for it: on the wide values of
# these tests it makes 3e-6, on small ones, as of a model never trained, much more. `Inferred.notes` says so.
EPS: dict[str, Any] = {"layer_norm_eps": 1e-6}


def _vit(**own: Any) -> nn.Module:
    return transformers.ViTModel(transformers.ViTConfig(**SIZE, **{**EPS, **own}))


def _beit(**own: Any) -> nn.Module:
    return transformers.BeitModel(transformers.BeitConfig(**SIZE, **{**EPS, **own}))


def _dinov2(registers: bool, **own: Any) -> nn.Module:
    sizes = {name: value for name, value in SIZE.items() if name != "intermediate_size"}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**sizes, **EPS, **own)
        return transformers.Dinov2WithRegistersModel(config)
    return transformers.Dinov2Model(transformers.Dinov2Config(**sizes, **EPS, **own))


HUGGINGFACE: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "ViT": ("huggingface-vit", _vit),
    "ViT without qkv bias": ("huggingface-vit", lambda: _vit(qkv_bias=False)),
    "ViT with eps 1e-12": ("huggingface-vit", lambda: _vit(layer_norm_eps=1e-12)),
    "BEiT, own tables": ("huggingface-beit", lambda: _beit(use_relative_position_bias=True, use_mean_pooling=False)),
    "BEiT, shared table, mask token": (
        "huggingface-beit",
        lambda: _beit(use_shared_relative_position_bias=True, use_mean_pooling=False, use_mask_token=True),
    ),
    "BEiT, absolute positions, no layer scale": (
        "huggingface-beit",
        lambda: _beit(use_absolute_position_embeddings=True, use_mean_pooling=False, layer_scale_init_value=0.0),
    ),
    "BEiT, all positions, norm after the mean": (
        "huggingface-beit",
        lambda: _beit(
            use_absolute_position_embeddings=True,
            use_relative_position_bias=True,
            use_shared_relative_position_bias=True,
        ),
    ),
    "DINOv2": ("huggingface-dinov2", lambda: _dinov2(False)),
    "DINOv2, registers": ("huggingface-dinov2", lambda: _dinov2(True)),
    "DINOv2, SwiGLU": ("huggingface-dinov2", lambda: _dinov2(False, use_swiglu_ffn=True)),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("naming", ["saved", "in memory"])
@pytest.mark.parametrize("case", HUGGINGFACE)
def test_transformers_features(case: str, naming: str, tmp_path: Path) -> None:
    layout, make = HUGGINGFACE[case]
    model = make().eval()
    randomise(model)
    weights = _saved(model, tmp_path) if naming == "saved" else dict(model.state_dict())
    assert recognised(weights) == [layout]
    ours = build(LAYOUTS[layout].to_timm(weights))
    for norm in ours.modules():
        if isinstance(norm, torch.nn.LayerNorm):
            norm.eps = model.config.layer_norm_eps  # no tensor shows it, config.json does
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        theirs = model(images)
        assert _difference(ours.forward_features(images), theirs.last_hidden_state) < 1e-5
        if "fc_norm.weight" in ours.state_dict():
            assert _difference(ours(images), theirs.pooler_output) < 1e-5


def test_transformers_mae_features_with_nothing_masked(tmp_path: Path) -> None:
    """ViT-MAE shuffles patches even when it hides none; rising noise keeps their order."""
    config = transformers.ViTMAEConfig(**SIZE, **EPS, mask_ratio=0.0)
    model = transformers.ViTMAEForPreTraining(config).eval()
    randomise(model)
    weights = {name.removeprefix("vit."): tensor for name, tensor in _saved(model, tmp_path).items()}
    assert recognised(weights) == ["huggingface-vit"]
    images = torch.randn(2, 3, 48, 48)
    noise = torch.arange(9.0).repeat(2, 1)
    with torch.no_grad():
        theirs = model.vit(images, noise=noise).last_hidden_state
        assert _difference(build(LAYOUTS["huggingface-vit"].to_timm(weights)).forward_features(images), theirs) < 1e-5


def test_torchvision_features() -> None:
    model = torchvision.models.VisionTransformer(48, 16, num_layers=2, num_heads=2, hidden_dim=128, mlp_dim=384).eval()
    randomise(model)
    weights = dict(model.state_dict())
    assert recognised(weights) == ["torchvision-vit"]
    ours = build(LAYOUTS["torchvision-vit"].to_timm(weights))
    model.heads = nn.Identity()
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert _difference(ours(images), model(images)) < 1e-5


TIMM: dict[str, dict[str, Any]] = {
    "plain": {},
    "no qkv bias, layer scale": {"qkv_bias": False, "init_values": 1e-5},
    "norm after the mean": {"global_pool": "avg"},
    "norm before the mean, no class token": {"global_pool": "avg", "fc_norm": False, "class_token": False},
    "registers, positions of patches only": {"reg_tokens": 4, "no_embed_class": True},
    "registers with positions": {"reg_tokens": 3},
    "four channels": {"in_chans": 4},
}
SMALL: dict[str, Any] = {"img_size": 64, "embed_dim": 128, "depth": 2, "num_heads": 2, "mlp_ratio": 3.3}
BEIT: dict[str, dict[str, Any]] = {
    "own tables": {},
    "shared table": {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True},
    "SimMIM": {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_fc_norm": False},
    "absolute positions": {"use_rel_pos_bias": False, "use_abs_pos_emb": True, "init_values": 0.0},
}


def _timm_model(name: str, arguments: dict[str, Any], **own: Any) -> nn.Module:
    model: nn.Module = timm.create_model(name, **{**SMALL, **arguments, **own}).eval()
    randomise(model)
    return model


@pytest.mark.parametrize("case", TIMM)
def test_timm_vit_features_and_back(case: str) -> None:
    model = _timm_model("vit_base_patch16_224", TIMM[case], num_classes=10)
    _same_features_and_back(model, "timm-vit", TIMM[case].get("in_chans", 3))


@pytest.mark.parametrize("case", BEIT)
def test_timm_beit_features_and_back(case: str) -> None:
    model = _timm_model("beit_base_patch16_224", BEIT[case], num_classes=10)
    _same_features_and_back(model, "timm-beit", 3)


def _same_features_and_back(model: nn.Module, layout: str, channels: int) -> None:
    weights = dict(model.state_dict())
    assert recognised(weights) == [layout]
    converted = LAYOUTS[layout].to_timm(weights)
    images = torch.randn(2, channels, 64, 64)
    with torch.no_grad():
        assert _difference(build(converted).forward_features(images), model.forward_features(images)) == 0
        head = model.forward_head(model.forward_features(images), pre_logits=True)
        assert _difference(build(converted)(images), head) == 0
    back = LAYOUTS[layout].from_timm
    assert back is not None
    _equal(back(converted), {name: tensor for name, tensor in weights.items() if not name.startswith("head.")})


def test_an_old_timm_file_with_a_representation_layer() -> None:
    model = _timm_model("vit_base_patch16_224", {}, num_classes=0)
    old = {**model.state_dict(), "pre_logits.fc.weight": torch.zeros(128, 128), "pre_logits.fc.bias": torch.zeros(128)}
    assert recognised(old) == ["timm-vit"]
    _equal(LAYOUTS["timm-vit"].to_timm(old), dict(model.state_dict()))


def test_simmim_and_back_with_the_buffers_of_microsoft() -> None:
    model = _timm_model("beit_base_patch16_224", BEIT["SimMIM"], num_classes=0)
    weights = dict(model.state_dict())
    to_simmim = LAYOUTS["simmim-vit"].from_timm
    assert to_simmim is not None
    file = to_simmim(weights)
    assert recognised(file) == ["simmim-vit"]
    assert set(file) - set(weights) == {"rel_pos_bias.relative_position_index"}
    _equal(LAYOUTS["simmim-vit"].to_timm(file), weights)


@pytest.mark.parametrize("case", ["ViT", "ViT without qkv bias", *(name for name in HUGGINGFACE if "BEiT" in name)])
def test_to_transformers_and_back(case: str, tmp_path: Path) -> None:
    """What we write is, bit for bit, what `save_pretrained` wrote."""
    layout, make = HUGGINGFACE[case]
    model = make()
    randomise(model)
    file = _saved(model, tmp_path)
    back = LAYOUTS[layout].from_timm
    assert back is not None
    written = back(LAYOUTS[layout].to_timm(file))
    beside = ("pooler.dense", "embeddings.mask_token")
    _equal(written, {name: tensor for name, tensor in file.items() if not name.startswith(beside)})


def test_to_torchvision_and_back() -> None:
    model = torchvision.models.VisionTransformer(48, 16, num_layers=2, num_heads=2, hidden_dim=128, mlp_dim=384)
    randomise(model)
    file = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("heads.")}
    back = LAYOUTS["torchvision-vit"].from_timm
    assert back is not None
    _equal(back(LAYOUTS["torchvision-vit"].to_timm(file)), file)


@pytest.mark.parametrize(
    ("target", "name", "arguments", "named"),
    [
        ("huggingface-vit", "vit_base_patch16_224", {"init_values": 1e-5}, "blocks.0.ls1.gamma"),
        ("huggingface-vit", "vit_base_patch16_224", {"reg_tokens": 4}, "reg_token"),
        ("huggingface-vit", "vit_base_patch16_224", {"global_pool": "avg"}, "norm.weight"),
        ("torchvision-vit", "vit_base_patch16_224", {"qkv_bias": False}, "attn.qkv.bias"),
        ("torchvision-vit", "beit_base_patch16_224", {}, "pos_embed"),
        ("simmim-vit", "vit_base_patch16_224", {}, "blocks.0.attn.qkv.bias"),
    ],
)
def test_what_a_target_cannot_hold_is_refused_by_name(
    target: str, name: str, arguments: dict[str, Any], named: str
) -> None:
    weights = dict(_timm_model(name, arguments, num_classes=0).state_dict())
    back = LAYOUTS[target].from_timm
    assert back is not None
    with pytest.raises(UserError, match=named):
        back(weights)


@pytest.mark.parametrize("case", ["ViT", "BEiT, own tables", "DINOv2"])
def test_damage_in_a_transformers_file_is_reported(case: str, tmp_path: Path) -> None:
    """A query without its key stays apart, and both are named."""
    layout, make = HUGGINGFACE[case]
    model = make()
    randomise(model)
    weights = _saved(model, tmp_path)
    assert complaint(LAYOUTS[layout], weights) == ""
    lost = "encoder.layer.1.attention.attention.key.weight"
    message = complaint(LAYOUTS[layout], {name: tensor for name, tensor in weights.items() if name != lost})
    assert "blocks.1.attn.qkv.weight" in message
    assert "encoder.layer.1.attention.attention.query.weight" in message
    odd = {**weights, lost: weights[lost][:64]}
    assert lost in complaint(LAYOUTS[layout], odd)


def _saved(model: Any, folder: Path) -> Weights:
    model.save_pretrained(folder)
    return dict(load_file(folder / "model.safetensors"))


def _equal(found: Weights, expected: Weights) -> None:
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def _difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max())
