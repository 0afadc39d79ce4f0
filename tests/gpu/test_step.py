"""One training step on the device against the plain step in double precision on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.config import load_recipe
from benchmarks.engine.device import LossScale, autocast
from benchmarks.engine.seeding import generator
from benchmarks.families.windows.order import stage_orders
from pretrain.method.simmim import Method, build_method
from pretrain.recipe import PretrainRecipe

NARROW = "embed_dim: 16, depths: [2, 2, 2], num_heads: [2, 4, 8], window_size: 4"
VIT = "use_shared_rel_pos_bias: true, use_abs_pos_emb: false, global_pool: token"
ENCODERS = {
    "Swin": f"{{name: swin_tiny_patch4_window7_224, arguments: {{{NARROW}}}}}",
    "SwinV2": f"{{name: swinv2_tiny_window8_256, arguments: {{{NARROW}}}}}",
    "ViT": f"{{name: beit_base_patch16_224, arguments: {{embed_dim: 32, depth: 2, num_heads: 2, {VIT}}}}}",
}
SIZE = 64
encoders = pytest.mark.parametrize("encoder", ENCODERS)


def recipe_of(encoder: str, *overrides: str) -> PretrainRecipe:
    changes = [f"encoder={ENCODERS[encoder]}", f"image_size_px={SIZE}", "masking.mask_patch_size_px=16", *overrides]
    return load_recipe(PretrainRecipe, "pretrain", "digits_simmim", changes).config


def method_of(recipe: PretrainRecipe, device: torch.device) -> Method:
    """A method whose random weights are the same on every device."""
    torch.manual_seed(0)
    method = build_method(recipe, torch.device("cpu"))
    for norm in method.model.modules():
        if isinstance(norm, nn.LayerNorm):
            nn.init.uniform_(norm.weight, 0.1, 0.3)  # SwinV2's begin with 0, behind which nothing would be seen
    nn.init.normal_(method.model.encoder.mask_token)
    method.model.to(device).train()
    return method


def step(method: Method, recipe: PretrainRecipe, device: torch.device) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients, in double precision on the CPU, of one batch that is the same on every device."""
    patch = method.model.encoder.patch_size_px
    hidden = recipe.masking.sample(4, SIZE, patch, generator(0, "mask")).to(device)
    weight = next(method.model.parameters())
    images = torch.randn(4, 3, SIZE, SIZE, generator=generator(0, "images")).to(weight)
    with autocast(device, recipe.training):
        loss = method.loss(images, hidden)
    scale, optimizer = LossScale(device, recipe.training), torch.optim.SGD(method.model.parameters())
    scale.scale(loss).backward()
    scale.unscale_(optimizer)
    named = method.model.named_parameters()
    return loss.item(), {name: each.grad.double().cpu() for name, each in named if each.grad is not None}


def exact_step(encoder: str) -> tuple[float, dict[str, Tensor]]:
    recipe = recipe_of(encoder, "training.fast_step=false")
    method = method_of(recipe, torch.device("cpu"))
    method.model.double()
    return step(method, recipe, torch.device("cpu"))


def distance(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """How far all gradients together are from the exact ones, as a share of their length."""
    assert found.keys() == exact.keys()
    apart = torch.cat([(found[name] - exact[name]).flatten() for name in exact])
    return float(apart.norm() / torch.cat([each.flatten() for each in exact.values()]).norm())


@encoders
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_loss_and_gradients_in_fp32_are_those_of_double_precision(
    encoder: str, fast: bool, device: torch.device
) -> None:
    recipe = recipe_of(encoder, f"training.fast_step={fast}")
    method = method_of(recipe, device)
    assert (method.fast is not None) == fast
    loss, gradients = step(method, recipe, device)
    exact_loss, exact = exact_step(encoder)
    assert loss == pytest.approx(exact_loss, rel=1e-5)
    assert distance(gradients, exact) < 1e-5


@encoders
def test_bf16_is_as_near_as_eight_bits_of_mantissa_let_it_be(encoder: str, device: torch.device) -> None:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip(f"{torch.cuda.get_device_name(device)} has no bf16")
    recipe = recipe_of(encoder, "training.precision=bf16")
    loss, gradients = step(method_of(recipe, device), recipe, device)
    exact_loss, exact = exact_step(encoder)
    assert loss == pytest.approx(exact_loss, rel=2**-6)
    assert 2**-16 < distance(gradients, exact) < 2**-3


@encoders
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_fp16_is_as_near_as_eleven_bits_of_mantissa_let_it_be(encoder: str, fast: bool, device: torch.device) -> None:
    recipe = recipe_of(encoder, "training.precision=fp16", f"training.fast_step={fast}")
    method = method_of(recipe, device)
    assert not method.in_window_order
    loss, gradients = step(method, recipe, device)
    exact_loss, exact = exact_step(encoder)
    assert loss == pytest.approx(exact_loss, rel=2**-9)
    assert 2**-16 < distance(gradients, exact) < 2**-5


@encoders
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_step_after_an_evaluation_in_inference_mode_is_the_same(
    encoder: str, precision: str, device: torch.device
) -> None:
    """A run that is continued may be evaluated first: what the encoder keeps from then on must be fit for training."""
    recipe = recipe_of(encoder, f"training.precision={precision}")
    method = method_of(recipe, device)
    loss, gradients = step(method, recipe, device)
    stage_orders.cache_clear()
    again = method_of(recipe, device)
    patch = again.model.encoder.patch_size_px
    with torch.inference_mode(), autocast(device, recipe.training):
        hidden = recipe.masking.sample(4, SIZE, patch, generator(0, "mask")).to(device)
        again.loss(torch.zeros(4, 3, SIZE, SIZE, device=device), hidden)
    found, others = step(again, recipe, device)
    assert found == loss
    assert distance(others, gradients) < 1e-6


@encoders
def test_compiled_blocks_compute_the_same(encoder: str, gpu: torch.device) -> None:
    """On a CPU `tests/pretrain/run/test_memory.py` trains with them."""
    recipe = recipe_of(encoder, "training.compile=true")
    method = method_of(recipe, gpu)
    method.model.encoder.compile_blocks(method.in_window_order)
    loss, gradients = step(method, recipe, gpu)
    exact_loss, exact = exact_step(encoder)
    assert loss == pytest.approx(exact_loss, rel=1e-4)
    assert distance({name.replace("_orig_mod.", ""): each for name, each in gradients.items()}, exact) < 1e-4
