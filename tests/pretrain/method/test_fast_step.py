"""The fast step is the plain step: the same loss and the same gradients, to the rounding of sums."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.config import load_recipe
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.seeding import generator
from benchmarks.families.products import LinearByOneDNN, multiply_by_onednn
from pretrain.method.fast_step import APART, BIASES, HIDDEN, ONEDNN, RECOMPUTED, WINDOWS
from pretrain.method.simmim import Method, build_method
from pretrain.recipe import PretrainRecipe
from pretrain.run.image_files import Images
from pretrain.run.train import MaskedImageModelling
from tests.support import small
from tests.support.runs import assert_same_training, record_of, stop_after, trained

NARROW = "embed_dim: 16, depths: [2, 2, 2], num_heads: [2, 4, 8], window_size: 4"
SWIN = f"encoder={{name: swin_tiny_patch4_window7_224, arguments: {{{NARROW}}}}}"
SWINV2 = f"encoder={{name: swinv2_tiny_window8_256, arguments: {{{NARROW}}}}}"
SHARED = "use_shared_rel_pos_bias: true, use_abs_pos_emb: false, global_pool: token"
VIT = f"encoder={{name: beit_base_patch16_224, arguments: {{embed_dim: 32, depth: 2, num_heads: 2, {SHARED}}}}}"
MASKS = "masking={mask_patch_size_px: 16, mask_ratio: 0.6}"


def method_of(*overrides: str, fast: bool) -> Method:
    """A method on images of 64 px, whose maps have several windows; weights are random, and the same ones each time."""
    recipe = load_recipe(
        PretrainRecipe, "pretrain", "digits_simmim", ["image_size_px=64", f"training.fast_step={fast}", *overrides]
    ).config
    torch.manual_seed(0)
    method = build_method(recipe, torch.device("cpu"))
    for norm in method.model.modules():
        if isinstance(norm, nn.LayerNorm):
            nn.init.uniform_(norm.weight, 0.1, 0.3)  # SwinV2's begin with 0, behind which nothing would be seen
    nn.init.normal_(method.model.encoder.mask_token)  # SwinV2 divides by the length of what follows from it
    method.model.train()
    return method


def step_of(
    method: Method, recipe: list[str], precision: torch.dtype = torch.float32
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one batch."""
    masking = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["image_size_px=64", *recipe]).config.masking
    hidden = masking.sample(3, 64, method.model.encoder.patch_size_px, generator(0, "mask"))
    images = torch.randn(3, 3, 64, 64, generator=generator(0, "images"))
    torch.manual_seed(1)
    with torch.autocast("cpu", precision, enabled=precision is not torch.float32):
        loss = method.loss(images, hidden)
    loss.backward()
    return loss.detach(), {name: each.grad for name, each in method.model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize(
    ("overrides", "ways"),
    [
        ([SWIN, MASKS], (WINDOWS, HIDDEN)),
        ([SWIN, MASKS, "drop_path_rate=0.5"], (WINDOWS, HIDDEN)),
        ([SWIN, MASKS, "target={local_norm_px: 7, loss: l2, resolution_px: 32}"], (WINDOWS, HIDDEN)),
        ([SWIN, MASKS, "target={scope: full}"], (WINDOWS,)),
        ([SWIN, MASKS, "head.kind=mlp"], (WINDOWS,)),
        ([SWIN, "masking={mask_patch_size_px: 8}"], (WINDOWS,)),
        ([SWIN, "masking={kind: blockwise, mask_patch_size_px: 32}"], (WINDOWS, HIDDEN)),
        ([SWINV2, MASKS], (WINDOWS, HIDDEN)),
        ([VIT, MASKS, "target={loss: smooth_l1}"], (HIDDEN,)),
        ([SWIN.replace("window_size", "proj_drop_rate: 0.1, window_size"), MASKS], (HIDDEN,)),
        ([SWIN.replace("window_size", "head_dim: 12, window_size"), MASKS], (WINDOWS, HIDDEN)),
        (["encoder=resnet18", "masking={mask_patch_size_px: 32}"], (HIDDEN,)),
    ],
    ids=lambda value: None if isinstance(value[0], str) and value[0] in (WINDOWS, HIDDEN) else " ".join(value)[-40:],
)
def test_loss_and_gradients_are_those_of_the_plain_step(overrides: list[str], ways: tuple[str, ...]) -> None:
    plain, fast = (method_of(*overrides, fast=each) for each in (False, True))
    assert plain.fast is None
    assert fast.fast is not None
    assert fast.fast.names == ways
    assert_same_step(plain, fast, overrides)


@pytest.mark.parametrize("encoder", [SWIN, SWINV2, VIT])
def test_products_by_onednn_are_those_of_the_plain_step(encoder: str) -> None:
    """In every linear layer of the encoder, on whichever CPU this runs."""
    overrides = [encoder, MASKS, "target={loss: smooth_l1}"]
    plain, fast = (method_of(*overrides, fast=each) for each in (False, True))
    multiply_by_onednn(fast.model.encoder)
    layers = [each for each in fast.model.encoder.modules() if isinstance(each, nn.Linear)]
    assert {type(each) for each in layers} == {LinearByOneDNN}
    assert_same_step(plain, fast, overrides)


def assert_same_step(plain: Method, fast: Method, overrides: list[str]) -> None:
    (loss, gradients), (fast_loss, fast_gradients) = (step_of(method, overrides) for method in (plain, fast))
    assert fast_loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert fast_gradients.keys() == gradients.keys()
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    for name, gradient in gradients.items():  # how each small one is computed, the test in fp64 sees
        torch.testing.assert_close(fast_gradients[name], gradient, rtol=1e-5, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize("encoder", [SWIN, SWINV2])
def test_an_encoder_in_the_order_of_windows_is_timms_own(encoder: str) -> None:
    """In fp64, where the rounding of sums cannot hide an error: features of timm's forward, and gradients of these."""
    found = []
    for fast in (False, True):
        model = method_of(encoder, MASKS, fast=fast).model.encoder.double()
        hidden = torch.rand(2, 16, 16, generator=generator(0, "mask")) < 0.6
        images = torch.randn(2, 3, 64, 64, generator=generator(0, "images"), dtype=torch.float64)
        features = model.tokens(images, hidden, True) if fast else model(images, hidden).flatten(2).transpose(1, 2)
        (features * torch.randn(features.shape, generator=generator(0, "weights"))).sum().backward()
        found.append({name: each.grad for name, each in model.named_parameters()} | {"features": features.detach()})
    plain, faster = found
    for name, tensor in plain.items():
        torch.testing.assert_close(faster[name], tensor, rtol=0, atol=1e-12 * tensor.abs().max().item(), msg=name)


@pytest.mark.parametrize("encoder", [SWIN, SWINV2])
def test_in_bf16_the_fast_step_is_as_exact_as_autocast(encoder: str) -> None:
    """Against gradients in fp32: what tokens in bf16 from end to end lose is no more than a third above autocast's."""
    overrides = [encoder, MASKS]
    _, exact = step_of(method_of(*overrides, fast=False), overrides)
    errors = []
    for fast in (False, True):
        _, found = step_of(method_of(*overrides, fast=fast), overrides, torch.bfloat16)
        errors.append(sum((found[name] - exact[name]).square().sum().item() for name in exact) ** 0.5)
    assert 0 < errors[1] < 4 / 3 * errors[0]


@pytest.mark.parametrize(
    ("encoder", "precision", "ways"),
    [(SWIN, "bf16", {APART, BIASES}), (SWIN, "fp32", {APART}), (SWINV2, "bf16", {BIASES}), (VIT, "bf16", set())],
)
def test_ways_that_turn_ties_of_rounding_are_on_record(encoder: str, precision: str, ways: set[str]) -> None:
    overrides = ["image_size_px=64", encoder, MASKS, f"training.precision={precision}", "training.device=cpu"]
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", overrides)
    none = Images(Path(), ImageFiles(Path(), []), None, Fingerprint(0, "content", ""))
    assert {APART, BIASES} & set(MaskedImageModelling(recipe, 0, none).fast_ways) == ways


def test_a_run_goes_on_with_the_steps_it_began_with(digits: Path, tmp_path: Path) -> None:
    """As those do that an earlier version began, which had plain steps alone: to the same bits."""
    command = small.pretraining(small.cut_digits(digits, tmp_path / "cut"))
    plain = [*command, "training.fast_step=false"]
    stop_after(plain, tmp_path / "runs", 4)
    resumed, whole = trained(command, tmp_path / "runs"), trained(plain, tmp_path / "whole")
    assert (record_of(resumed).attempts, record_of(resumed).fast_ways) == (2, ())
    assert resumed.name == whole.name, "it says how to run, not what"
    assert_same_training(whole, resumed)
    fast = record_of(trained(command, tmp_path / "fast"))
    assert fast.fast_ways is not None
    assert fast.fast_ways[:4] == (WINDOWS, RECOMPUTED, APART, "a fused update")


@pytest.mark.parametrize("first", [False, True])
def test_a_run_goes_on_with_the_library_it_began_with(
    first: bool, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it goes on another machine, or was begun before oneDNN was asked: to the bits of one that never stopped."""
    command = [*small.pretraining(small.cut_digits(digits, tmp_path / "cut")), "training.precision=fp32"]

    def is_faster(answer: bool) -> None:
        monkeypatch.setattr("pretrain.run.train.faster_by_onednn", lambda: answer)

    is_faster(first)
    whole = trained(command, tmp_path / "whole")
    stop_after(command, tmp_path / "runs", 4)
    is_faster(not first)
    resumed = trained(command, tmp_path / "runs")
    assert_same_training(whole, resumed)
    for run in (whole, resumed):
        assert (ONEDNN in (record_of(run).fast_ways or ())) == first
    other = trained(command, tmp_path / "other")
    assert (ONEDNN in (record_of(other).fast_ways or ())) != first
    assert trained_weights(other) != trained_weights(whole), "sums in another order: else this test could not fail"


def trained_weights(run: Path) -> bytes:
    return (run / "encoder" / "encoder.safetensors").read_bytes()
