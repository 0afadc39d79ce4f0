"""What no tensor shows: settings that libraries keep beside their weights, and models that share all names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.checkpoint.library_zoo import (
    PLAIN,
    SIDE,
    STAGES,
    Foreign,
    of_convolutions,
    of_mmpretrain,
    of_tokens,
)
from transfer.checkpoint.architecture.stated import state
from transfer.checkpoint.foreign import ForeignEncoder, read_foreign

WINDOWS: dict[str, Any] = {"image_size": SIDE, "embed_dim": 32, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
HIERA: dict[str, Any] = {"embed_dim": 32, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "image_size": [SIDE, SIDE]}
WIDTHS: dict[str, Any] = {"depths": [1, 1, 1, 1], "hidden_sizes": [256, 512, 1024, 2048]}
DINOV2 = {name: value for name, value in PLAIN.items() if name != "intermediate_size"}
READ: dict[str, Callable[[Path], Foreign]] = {
    "QuickGELU": of_tokens("huggingface-vit", "ViTModel", pooled=False, **PLAIN, hidden_act="quick_gelu"),
    "GELU by tanh": of_tokens("huggingface-dinov2", "Dinov2Model", pooled=False, **DINOV2, hidden_act="gelu_new"),
    "no pool": of_tokens("huggingface-siglip", "SiglipVisionModel", pooled=False, **PLAIN, vision_use_head=False),
    "another name of a norm": of_tokens(
        *("huggingface-clip", "Owlv2VisionModel"), inner="vision_model", norm="vision_model.post_layernorm", **PLAIN
    ),
    "no layer scale": of_convolutions(
        "huggingface-convnext", "ConvNextModel", **STAGES, layer_scale_init_value=0.0, layer_norm_eps=1e-6
    ),
}
REFUSED: dict[str, tuple[Callable[[Path], Foreign], str]] = {
    "ReLU in a ViT": (
        of_tokens("huggingface-vit", "ViTModel", **PLAIN, hidden_act="relu"),
        "hidden_act in config.json = relu",
    ),
    "ReLU in a Swin": (
        of_tokens("huggingface-swin", "SwinModel", **WINDOWS, window_size=2, hidden_act="relu"),
        "hidden_act in config.json = relu",
    ),
    "ReLU in a Hiera": (of_tokens("huggingface-hiera", "HieraModel", **HIERA, hidden_act="relu"), "hidden_act"),
    "a stride in the first 1x1 convolution": (
        of_convolutions("huggingface-resnet", "ResNetModel", **WIDTHS, downsample_in_bottleneck=True),
        "downsample_in_bottleneck in config.json = True",
    ),
    "a stride in the first stage": (
        of_convolutions("huggingface-resnet", "ResNetModel", **WIDTHS, downsample_in_first_stage=True),
        "downsample_in_first_stage in config.json = True",
    ),
    "as many patches as a square, but in a strip": (
        of_tokens("huggingface-vit", "ViTModel", **{**PLAIN, "image_size": [32, 128]}),
        "image_size in config.json",
    ),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", READ)
def test_a_setting_that_timm_computes_is_taken_from_the_configuration(name: str, tmp_path: Path) -> None:
    foreign = READ[name](tmp_path)
    read = read_foreign(foreign.save(tmp_path))
    assert read.layout.name == foreign.layout
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        theirs = foreign.dense(images)
        ours = _built(read).forward_features(images)
        assert (ours[:, -theirs.shape[1] :] - theirs).abs().max() < 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_timm_does_not_compute_is_refused(name: str, tmp_path: Path) -> None:
    """All names and shapes fit; features would be others."""
    make, words = REFUSED[name]
    with pytest.raises(UserError) as refused:
        read_foreign(make(tmp_path).save(tmp_path))
    assert words in str(refused.value)
    assert "--encoder python:MODULE:FACTORY" in str(refused.value)


@pytest.mark.parametrize("quick", [False, True])
def test_open_clips_own_configuration_shows_activation_and_heads(quick: bool, tmp_path: Path) -> None:
    vision = {"image_size": SIDE, "layers": 2, "width": 128, "patch_size": 16, "head_width": 32}
    tower, images = _open_clip(tmp_path, vision, quick), torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert (_built(read_foreign(tmp_path))(images) - tower(images)).abs().max() < 1e-5


def test_a_tower_that_pools_otherwise_is_refused(tmp_path: Path) -> None:
    vision = {"image_size": SIDE, "layers": 2, "width": 128, "patch_size": 16, "pool_type": "avg"}
    _open_clip(tmp_path, vision, quick=False)
    with pytest.raises(UserError, match=r"pool_type in open_clip_config\.json = avg"):
        read_foreign(tmp_path)


def test_an_attention_pool_of_coca_is_not_taken_for_another(tmp_path: Path) -> None:
    vision = {"image_size": SIDE, "layers": 1, "width": 64, "patch_size": 16, "attentional_pool": True}
    _open_clip(tmp_path, {**vision, "attn_pooler_heads": 2}, quick=False)
    with pytest.raises(UserError, match="CoCa"):
        read_foreign(tmp_path)


def test_the_model_that_transformers_wraps_is_read_by_its_name(tmp_path: Path) -> None:
    """Its tensors alone are those of DeiT III, without rotary positions."""
    transformers = library("transformers", "transformers")
    arguments = {"img_size": SIDE, "depth": 2}
    config = transformers.TimmWrapperConfig(architecture="vit_small_patch16_rope_ape_224", model_args=arguments)
    model = randomise(transformers.TimmWrapperModel(config))
    model.save_pretrained(tmp_path)
    _require_features(read_foreign(tmp_path), model.timm_model)
    (tmp_path / "config.json").unlink()
    assert "vit_*_rope_ape_224" in read_foreign(tmp_path).inferred.assumed["positions"]


STATED: dict[str, tuple[dict[str, Any], str]] = {
    "vit_base_patch16_rpn_224": ({"img_size": SIDE, "depth": 2}, "order of norms = "),
    "vit_tiny_r_s16_p8_224": ({"img_size": SIDE, "depth": 2}, "an encoder in a known layout"),
    "vit_betwixt_patch16_rope_reg4_gap_256": ({"img_size": SIDE, "depth": 2}, "an encoder in a known layout"),
    "convnext_atto_ols": ({"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}, "stem = two convolutions"),
    "convnext_zepto_rms": ({"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}, "norms = all without bias"),
    "resnet50_gn": ({"layers": [1, 1, 1, 1], "channels": [32, 32, 32, 32]}, "norms = without running statistics"),
}
"""Models that an architecture of others could be read into, their arguments, and words by which they are refused."""


@pytest.mark.parametrize("name", STATED)
def test_a_model_under_the_names_of_another_is_read_only_where_it_is_stated(name: str, tmp_path: Path) -> None:
    arguments, words = STATED[name]
    model: Any = randomise(timm.create_model(name, num_classes=3, **arguments))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UserError) as refused:
        read_foreign(tmp_path)
    assert words in str(refused.value)
    assert "--architecture" in str(refused.value)
    (tmp_path / "stated.yaml").write_text(yaml.safe_dump({"name": name, "arguments": arguments}))
    _require_features(read_foreign(tmp_path, state(str(tmp_path / "stated.yaml"))), model)


def test_batch_norms_that_were_merged_are_no_torchvision_resnet(tmp_path: Path) -> None:
    """mmdet's *_caffe files have torchvision's names, BGR images and their stride elsewhere."""
    model = timm.create_model("resnet18", num_classes=0)
    weights = {
        name: torch.zeros_like(each) if "running_mean" in name else each for name, each in model.state_dict().items()
    }
    torch.save({"state_dict": weights}, tmp_path / "caffe.pth")
    with pytest.raises(UserError, match="running means of all batch norms = 0"):
        read_foreign(tmp_path / "caffe.pth")
    assert read_foreign(tmp_path / "caffe.pth", state("resnet18")).inferred.architecture.name == "resnet18"


def test_heads_that_do_not_divide_the_width_are_the_configurations_fault(tmp_path: Path) -> None:
    foreign = of_tokens("huggingface-vit", "ViTModel", **PLAIN)(tmp_path)
    foreign.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**foreign.config, "num_attention_heads": 7}))
    with pytest.raises(UserError, match=r"(?s)heads = 7.*num_attention_heads in config.json"):
        read_foreign(tmp_path)


def _open_clip(folder: Path, vision: dict[str, Any], quick: bool) -> Any:
    open_clip = library("open_clip", "open_clip_torch")
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model = randomise(open_clip.CLIP(embed_dim=64, vision_cfg=vision, text_cfg=text, quick_gelu=quick))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    settings = {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": settings}))
    model.visual.proj = None
    return model.visual


def _require_features(read: ForeignEncoder, model: Any) -> None:
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        theirs: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)
        ours = _built(read)
        assert torch.equal(family_of(ours).own_feature(ours.forward_features(images)), theirs)


def _built(read: ForeignEncoder) -> Any:
    model = build_backbone(read.inferred.architecture, None)
    expected = model.state_dict()
    nn.Module.load_state_dict(model, {name: each for name, each in read.weights.items() if name in expected})
    return model.eval()


def test_a_broken_configuration_is_not_passed_over(tmp_path: Path) -> None:
    """Without it a ViT of 128 channels has two heads by convention; this one has four."""
    folder = of_tokens("huggingface-vit", "ViTModel", pooled=False, **PLAIN)(tmp_path).save(tmp_path)
    whole = (folder / "config.json").read_text()
    (folder / "config.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"config\.json = \(damaged"):
        read_foreign(folder)
    (folder / "config.json").unlink()
    assert "num_heads" in read_foreign(folder).inferred.assumed


def test_the_pool_of_an_aimv2_is_left_out_with_a_note(tmp_path: Path) -> None:
    for pooled in (True, False):
        make = of_tokens("huggingface-aimv2", "Aimv2VisionModel", pooled=False, **PLAIN, use_head=pooled)
        (tmp_path / str(pooled)).mkdir()
        remarks = read_foreign(make(tmp_path / str(pooled)).save(tmp_path / str(pooled))).inferred.remarks
        assert any("attention pool (head.) is left out" in each for each in remarks) == pooled


def test_the_grid_of_a_perception_encoder_at_another_size_is_assumed(tmp_path: Path) -> None:
    model = timm.create_model("vit_pe_core_tiny_patch16_384", img_size=SIDE, depth=2, num_classes=0)
    save_file(randomise(model).state_dict(), tmp_path / "pe.safetensors")
    assert "4 x 4 patches" in read_foreign(tmp_path / "pe.safetensors").inferred.assumed["positions"]


def test_an_mvit_is_of_no_known_layout(tmp_path: Path) -> None:
    """Its blocks have names of Hiera's and of SAM's; it is one encoder all the same."""
    folder = of_mmpretrain("none", "MViT", arch="tiny", img_size=SIDE)(tmp_path).save(tmp_path)
    with pytest.raises(UserError, match="an encoder in a known layout"):
        read_foreign(folder)
