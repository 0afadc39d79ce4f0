"""Low-rank adapters: they begin at the encoder itself, train nothing else, and what is exported is what was trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.encoders import Architecture
from benchmarks.engine import own_code
from benchmarks.engine.flops import forward_flops
from benchmarks.engine.own_code import build_own, trust
from benchmarks.errors import UserError
from benchmarks.families.table import family_of
from tests.support.random_weights import randomise
from transfer.encoder.adapters import LowRank, adapt_model, adapter_notes, merged
from transfer.encoder.layer_decay import groups_by_layer
from transfer.encoder.sizes import Adapters

SWIN: dict[str, Any] = {
    "img_size": 64,
    "window_size": 4,
    "depths": (1, 1, 2, 1),
    "embed_dim": 24,
    "num_heads": (1, 2, 4, 8),
}
ATTENTION, ALL = Adapters(rank=2, alpha=3.0), Adapters(rank=2, alpha=3.0, targets="all")
CASES: dict[str, tuple[str, dict[str, Any], Adapters, int]] = {
    "ViT": ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2}, ATTENTION, 4),
    "Swin": ("swin_tiny_patch4_window7_224", SWIN, ATTENTION, 10),
    "SwinV2, which reads the weights of its query, key and value itself": (
        *("swinv2_tiny_window8_256", SWIN, ATTENTION, 10),
    ),
    "BEiT, which does so, too": (
        *("beit_base_patch16_224", {"img_size": 64, "depth": 2, "embed_dim": 48, "num_heads": 4}, ATTENTION, 4),
    ),
    "CAFormer, whose mixers attend in two stages": (*("caformer_s18", {}, ATTENTION, 24),),
    "MaxViT, whose blocks of attention have an MLP": (*("maxvit_pico_rw_256", {"img_size": 64}, ATTENTION, 44),),
    "ConvNeXt": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 32, 64)}, ALL, 8),
    "ResNet": ("resnet18", {"layers": (1, 1, 1, 1), "channels": (8, 16, 32, 64)}, ALL, 12),
}


def _model(name: str, **sizes: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = randomise(timm.create_model(name, num_classes=3, **sizes))
    return model


@pytest.mark.parametrize("case", CASES)
def test_training_begins_at_the_encoder_and_ends_in_its_export(case: str) -> None:
    name, sizes, adapters, matrices = CASES[case]
    model = _model(name, **sizes)
    images, before = torch.randn(2, 3, 64, 64), copy.deepcopy(model.state_dict())
    plain = _outputs(model.eval(), images)
    adapt_model(model, adapters)
    assert f"beside {matrices} matrices" in adapter_notes(model)[0]
    assert _outputs(model.train().eval(), images).equal(plain), "the zeros of `up` add nothing"

    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], 0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model.train()(images).square().mean().backward()
        trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        optimizer.step()
    assert all(each.grad is not None and each.grad.any() for each in trained.values()), "each has its part"
    head = family_of(model).head_names()
    assert {name for name in trained if ".0." not in name} == {name for name in head if name in trained}
    after = merged(model.state_dict())
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed - head == {name.split(".parametrizations")[0] + ".weight" for name in trained if ".up" in name}

    export = timm.create_model(name, num_classes=3, **sizes).eval()
    export.load_state_dict(after, strict=True)
    found, expected = _outputs(export, images), _outputs(model.eval(), images)
    assert float((found - expected).abs().max()) <= 1e-6 * float(expected.abs().max())
    assert float((expected - plain).abs().max()) > 1e-4


def test_a_training_ends_with_the_matrices_of_loras_own_code() -> None:
    """`original/lora.safetensors` is what `loralib.Linear` of microsoft/LoRA at c4593f0 computed, with r = 4 and
    lora_alpha = 6: its outputs, its matrices after five steps of AdamW, and the weight into which eval() merges them.
    """
    there = load_file(Path(__file__).parent / "original" / "lora.safetensors")
    linear: Any = nn.Linear(12, 10)
    linear.load_state_dict({name: there[name] for name in ("weight", "bias")})
    model = nn.Sequential(linear).requires_grad_(False)
    added = LowRank(linear.weight, Adapters(rank=4, alpha=6.0))
    added.load_state_dict({"up": there["before.up"], "down": there["before.down"]}, strict=False)
    parametrize.register_parametrization(linear, "weight", added)
    torch.testing.assert_close(model(there["images"]), there["outputs"], rtol=0, atol=1e-5)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 0.02, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (model(there["images"]) - there["targets"]).square().mean().backward()
        optimizer.step()
    for name, found in (("up", added.up), ("down", added.down)):
        torch.testing.assert_close(found, there[f"after.{name}"], rtol=0, atol=1e-5)
    torch.testing.assert_close(merged(model.state_dict())["0.weight"], there["merged"], rtol=0, atol=1e-5)


def test_what_is_added_is_the_papers_product() -> None:
    """Equation 3 of arXiv:2106.09685, W x + alpha / r B A x, for one linear layer and one convolution."""
    model = _model("resnet18", layers=(1, 1, 1, 1), channels=(8, 16, 32, 64))
    convolution, weight = model.layer1[0].conv2, model.layer1[0].conv2.weight.detach().clone()  # type: ignore[index, union-attr]
    adapt_model(model, Adapters(rank=3, alpha=6.0, targets="all"))
    added: Any = convolution.parametrizations.weight[0]
    nn.init.normal_(added.up)
    images = torch.randn(1, 8, 6, 6)
    down = torch.nn.functional.conv2d(images, added.down.reshape(3, 8, 3, 3), padding=1)
    up = torch.nn.functional.conv2d(down, added.up.reshape(8, 3, 1, 1))
    expected = torch.nn.functional.conv2d(images, weight, padding=1) + 6 / 3 * up
    torch.testing.assert_close(convolution(images), expected, rtol=1e-5, atol=1e-5)


def test_half_precision_trains_what_is_exported() -> None:
    """Autocast rounds what a weight is used for, not what is added to it."""
    model = _model("vit_tiny_patch16_224", img_size=32, depth=1)
    adapt_model(model, ATTENTION)
    linear: Any = model.blocks[0].attn.qkv  # type: ignore[index, union-attr]
    nn.init.normal_(linear.parametrizations.weight[0].up)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        used = linear.weight
    assert used.equal(merged(model.state_dict())["blocks.0.attn.qkv.weight"])


def test_batch_norms_stay_as_they_are() -> None:
    model = _model("resnet18", layers=(1, 1, 1, 1), channels=(8, 16, 32, 64))
    images = torch.randn(4, 3, 64, 64) + 5
    plain = _outputs(model.eval(), images)
    adapt_model(model, ALL)
    again = copy.deepcopy(model)  # as a moving average of weights does
    for each in (model, again):
        with torch.no_grad():
            assert each.train()(images).equal(plain)


def test_layers_and_flops_are_those_of_the_weights() -> None:
    name, sizes = "vit_tiny_patch16_224", {"img_size": 64, "depth": 3}
    model, images = _model(name, **sizes), torch.randn(1, 3, 64, 64)
    flops = forward_flops(model, lambda: model(images))
    adapt_model(model, ATTENTION)
    assert forward_flops(model, lambda: model(images)) == flops
    groups = groups_by_layer(model, family_of(model).layers, 0.05, 0.5)
    scale = {name: group["lr_scale"] for group in groups for name in group["names"]}
    assert scale["blocks.0.attn.qkv.parametrizations.weight.0.up"] == pytest.approx(0.5**3)
    assert scale["blocks.2.attn.proj.parametrizations.weight.0.down"] == pytest.approx(0.5)
    assert scale["head.weight"] == 1


@pytest.mark.parametrize(
    ("name", "adapters", "words"),
    [
        ("convnext_atto", ATTENTION, r"adapters\.targets = attention.*\n.*has none\n.*targets=all"),
        ("vit_tiny_patch16_224", Adapters(rank=192), r"adapters\.rank = 192\n.*less than 192"),
        ("densenet121", ALL, r"adapters = DenseNet\n.*whose blocks are known"),
    ],
)
def test_what_cannot_be_adapted_is_refused(name: str, adapters: Adapters, words: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=2)
    with pytest.raises(UserError, match=words):
        adapt_model(model, adapters)


def test_an_encoder_of_ones_own_is_adapted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "_trusted", set())
    architecture = Architecture(name="python:tests.support.own_encoders:vit_of_transformers")
    trust(architecture.name)
    model = build_own(architecture, 32, 3, 0.0).eval()
    images = torch.randn(2, 3, 32, 32)
    plain = _outputs(model, images)
    adapt_model(model, ATTENTION)
    assert "beside 8 matrices" in adapter_notes(model)[0]
    assert _outputs(model, images).equal(plain)
    assert merged(model.state_dict()).keys() == build_own(architecture, 32, 3, 0.0).state_dict().keys()


def _outputs(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(images)
    return found
