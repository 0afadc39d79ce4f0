"""Parameter groups and the schedule against the published rules, written out independently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

from benchmarks.encoders import find_architecture
from benchmarks.engine.optim import build_optimizer, clip, parameter_groups
from benchmarks.training.optimizers import Lars
from benchmarks.training.schedules import Cosine, MultiStep, Poly
from benchmarks.training.training import Training
from pretrain.method.masked_encoders import MaskedEncoder, build_masked_encoder


def training(**changes: object) -> Training:
    schedule = Cosine(base_lr=2e-4, warmup_lr=1e-6, min_lr=1e-5, warmup_epochs=10)
    return Training(**{"epochs": 100, "batch_size": 2048, "schedule": schedule, **changes})  # type: ignore[arg-type]


def test_simmim_rates_per_step() -> None:
    """lr = base x batch / 512; linear warm-up from the warm-up rate; one cosine over all steps."""
    steps_per_epoch = 7
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 0.5}], training())
    schedule = training().schedule.build(optimizer, 2048, 100 * steps_per_epoch, steps_per_epoch)
    total, warm = 100 * steps_per_epoch, 10 * steps_per_epoch
    peak, start, end = 2e-4 * 4, 1e-6 * 4, 1e-5 * 4
    for step in (0, 1, 35, 69, 70, 71, 350, 698, 699):
        schedule.step_update(step)
        if step < warm:
            expected = start + (peak - start) * step / warm
        else:
            expected = end + (peak - end) * (1 + math.cos(math.pi * step / total)) / 2
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * expected, rel=1e-12)


def test_poly_rates_per_step() -> None:
    """mmsegmentation's 160k schedule: linear warm-up over 1500 steps, then a line to zero; rates are absolute."""
    schedule = Poly(lr=6e-5, power=1.0, warmup_steps=1500, warmup_ratio=1e-6)
    recipe = training(epochs=None, steps=160_000, schedule=schedule, batch_size=16)
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 0.5}], recipe)
    rates = recipe.schedule.build(optimizer, 16, 160_000, 1263)
    for step in (0, 1, 750, 1499, 1500, 80_000, 159_999):
        rates.step_update(step)
        warm = 1e-6 + (1 - 1e-6) * step / 1500
        expected = 6e-5 * (warm if step < 1500 else 1 - (step - 1500) / (160_000 - 1500))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * expected, rel=1e-9)


@pytest.mark.parametrize(
    "schedule", [Cosine(base_lr=1e-4, warmup_lr=1e-6, min_lr=1e-5, warmup_epochs=0), Poly(lr=1e-4, warmup_steps=0)]
)
def test_of_a_training_of_one_step_nobody_is_warned(schedule: Cosine | Poly, caplog: pytest.LogCaptureFixture) -> None:
    recipe = training(schedule=schedule, batch_size=512)
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 1.0}], recipe)
    schedule.build(optimizer, 512, 1, 1).step_update(0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)
    assert caplog.messages == []


def test_multistep_rates_per_step() -> None:
    """mmdetection's 3x schedule at batch 16: a tenth of the rate after epochs 27 and 33 of 36, 7330 steps each."""
    schedule = MultiStep(lr=1e-4, milestone_epochs=(27, 33), warmup_steps=500, warmup_ratio=1e-3)
    recipe = training(epochs=36, schedule=schedule, batch_size=16)
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 0.5}], recipe)
    rates = recipe.schedule.build(optimizer, 16, 36 * 7330, 7330)
    first, second = 27 * 7330, 33 * 7330
    for step in (0, 1, 499, 500, first - 1, first, second - 1, second, 36 * 7330 - 1):
        rates.step_update(step)
        warm = min(1.0, 1e-3 + (1 - 1e-3) * step / 500)
        expected = 1e-4 * warm * 0.1 ** ((step >= first) + (step >= second))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * expected, rel=1e-9)


@pytest.mark.parametrize(
    "milestones", [{}, {"milestone_epochs": [2], "milestone_steps": [5]}, {"milestone_steps": [9, 3]}]
)
def test_milestones_are_given_in_one_unit_and_in_order(milestones: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="milestone"):
        MultiStep.model_validate({"lr": 1e-4, **milestones})


def test_no_decay_names_of_swin_base() -> None:
    with torch.device("meta"):
        model = MaskedEncoder(timm.create_model("swin_base_patch4_window7_224", num_classes=0))
    decayed, spared = sorted(parameter_groups(model, 0.05), key=lambda group: -group["weight_decay"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    blocks = 2 + 2 + 18 + 2
    # qkv, proj, fc1, fc2 of every block, three PatchMerging reductions, the patch projection.
    assert len(decayed["names"]) == 4 * blocks + 3 + 1
    assert all(name.endswith(".weight") for name in decayed["names"])
    tables = [name for name in spared["names"] if name.endswith("relative_position_bias_table")]
    assert len(tables) == blocks
    assert "mask_token" in spared["names"]
    # Per block: a table, two norms (2 each), four biases; 3 merging norms, patch norm, final norm, projection bias.
    assert len(spared["names"]) == blocks * (1 + 4 + 4) + 3 * 2 + 2 + 2 + 1 + 1


def test_no_decay_names_of_vit_base() -> None:
    """microsoft/SimMIM's rule for its ViT: no decay for vectors, biases and class token, but for the bias table.

    The mask token is spared as in its Swin.
    """
    with torch.device("meta"):
        model = build_masked_encoder(find_architecture("simmim_vit_base"), 224, 0.1)
    decayed, spared = sorted(parameter_groups(model, 0.05), key=lambda group: -group["weight_decay"])
    matrices = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")
    assert sorted(decayed["names"]) == sorted(
        ["backbone.patch_embed.proj.weight", "backbone.rel_pos_bias.relative_position_bias_table"]
        + [f"backbone.blocks.{block}.{name}" for block in range(12) for name in matrices]
    )
    vectors = [f"{norm}.{part}" for norm in ("norm1", "norm2") for part in ("weight", "bias")]
    vectors += ["gamma_1", "gamma_2", "attn.q_bias", "attn.v_bias", "attn.proj.bias", "mlp.fc1.bias", "mlp.fc2.bias"]
    once = [
        "cls_token",
        "patch_embed.proj.bias",
        "norm.weight",
        "norm.bias",
    ]
    assert sorted(spared["names"]) == sorted(
        ["mask_token"]
        + [f"backbone.{name}" for name in once]
        + [f"backbone.blocks.{block}.{name}" for block in range(12) for name in vectors]
    )


def test_every_parameter_is_in_exactly_one_group() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    groups = parameter_groups(model, 0.05)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    model[0].weight.requires_grad_(False)
    assert all("0.weight" not in group["names"] for group in parameter_groups(model, 0.05))


def test_maes_rates_per_step() -> None:
    """main_linprobe.py: lr = 0.1 x batch / 256; a line from zero, then one cosine over what is left."""
    schedule = Cosine(base_lr=0.1, warmup_lr=0, min_lr=0, warmup_epochs=10, per_images=256, after_warmup=True)
    recipe = training(epochs=90, schedule=schedule, batch_size=16384)
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 1.0}], recipe)
    rates = recipe.schedule.build(optimizer, 16384, 90 * 78, 78)
    for step in (0, 1, 390, 779, 780, 781, 4000, 7019):
        rates.step_update(step)
        epoch = step / 78
        expected = 6.4 * (epoch / 10 if epoch < 10 else 0.5 * (1 + math.cos(math.pi * (epoch - 10) / 80)))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_lars_is_the_papers(weight_decay: float) -> None:
    """You et al. 2017, algorithm 1, for a matrix; a bias takes plain steps with momentum."""
    rng = np.random.default_rng(0)
    linear = nn.Linear(5, 3).double()
    recipe = training(optimizer=Lars(momentum=0.9, trust_coefficient=0.001), weight_decay=weight_decay)
    optimizer = build_optimizer(parameter_groups(linear, weight_decay), recipe)
    rate = optimizer.param_groups[0]["lr"]
    weight, bias = (tensor.detach().numpy().copy() for tensor in (linear.weight, linear.bias))
    speed, bias_speed = np.zeros_like(weight), np.zeros_like(bias)
    for _ in range(3):
        gradient, bias_gradient = rng.normal(size=weight.shape), rng.normal(size=bias.shape)
        norm = np.linalg.norm
        local = 0.001 * norm(weight) / (norm(gradient) + weight_decay * norm(weight))
        speed = 0.9 * speed + rate * local * (gradient + weight_decay * weight)
        bias_speed = 0.9 * bias_speed + rate * bias_gradient
        weight, bias = weight - speed, bias - bias_speed
        linear.weight.grad, linear.bias.grad = torch.from_numpy(gradient), torch.from_numpy(bias_gradient)
        optimizer.step()
    np.testing.assert_allclose(linear.weight.detach().numpy(), weight, rtol=1e-7)
    np.testing.assert_allclose(linear.bias.detach().numpy(), bias, rtol=1e-12)


@pytest.mark.parametrize("limit", [5.0, 0.3, None])
@pytest.mark.parametrize("factor", [1.0, math.nan, math.inf])
def test_gradients_are_clipped_as_torch_clips_them(limit: float | None, factor: float) -> None:
    """To the bit, below the limit and above it, and where a gradient is not finite."""
    found = []
    for own in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3))
        torch.manual_seed(1)
        for each in list(model.parameters())[:-1]:  # the last one has none, as an unused one
            each.grad = torch.randn(each.shape)
        next(model.parameters()).grad[0, 0] *= factor  # type: ignore[index]
        norm = clip(model, limit) if own else nn.utils.clip_grad_norm_(model.parameters(), limit or math.inf)
        found.append((norm, *(each.grad for each in list(model.parameters())[:-1])))
    if math.isnan(found[0][0]) or (limit is None and math.isinf(found[0][0])):
        assert str(found[0][0]) == str(found[1][0]), "the step is taken back, whatever the gradients are"
        return
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))
