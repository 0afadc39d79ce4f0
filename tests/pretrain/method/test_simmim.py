"""The recipe as a whole: its parts fit, or the one that does not is named before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.config import load_recipe
from benchmarks.data.fingerprint import Fingerprint
from benchmarks.data.image_source import ImageFiles
from benchmarks.engine.backbone import build_backbone
from benchmarks.engine.flops import forward_flops
from benchmarks.errors import UserError
from pretrain.method.simmim import Method, build_method
from pretrain.recipe import PretrainRecipe
from pretrain.run.image_files import Images
from pretrain.run.train import MaskedImageModelling

CPU = torch.device("cpu")


def method_of(*overrides: str, recipe: str = "digits_simmim") -> Method:
    torch.manual_seed(0)
    return build_method(load_recipe(PretrainRecipe, "pretrain", recipe, overrides).config, CPU)


def test_the_defaults_are_the_papers() -> None:
    """Random masks of 32 px at 0.6, a linear head, l1 on the hidden pixels of the full resolution."""
    written = {"encoder", "data", "training", "image_size_px"}
    fields = {name: field for name, field in PretrainRecipe.model_fields.items() if name not in written}
    defaults = {name: field.default for name, field in fields.items()}
    assert {name: getattr(value, "kind", value) for name, value in defaults.items()} == {
        "drop_path_rate": 0.0,
        "masking": "random",
        "head": "linear",
        "target": "pixels",
        "validation": None,
        "export_epochs": (),
    }
    assert defaults["masking"].model_dump() == {"kind": "random", "mask_patch_size_px": 32, "mask_ratio": 0.6}
    assert defaults["target"].model_dump() == {
        "kind": "pixels",
        "scope": "masked",
        "resolution_px": None,
        "loss": "l1",
        "local_norm_px": None,
    }


@pytest.mark.parametrize("image_size_px", [32, 64])
def test_loss_and_gradients_of_the_whole_model_equal_the_formula(image_size_px: int) -> None:
    """From the encoder's features on, in float64 NumPy: the linear layer, its layout as pixels, L1 on hidden ones."""
    method = method_of(f"image_size_px={image_size_px}")
    model, side = method.model, image_size_px // 4
    images = torch.randn(3, 3, image_size_px, image_size_px)
    hidden = torch.rand(3, side // 2, side // 2).repeat_interleave(2, 1).repeat_interleave(2, 2) < 0.6
    features = model.encoder(images, hidden).detach().double().numpy()
    loss = method.loss(images, hidden)
    loss.backward()

    weight, bias = (parameter.detach().double().numpy() for parameter in model.head.parameters())
    weight, grid = weight[:, :, 0, 0], image_size_px // 32
    tokens = np.einsum("kd,bdhw->bkhw", weight, features) + bias[:, None, None]
    pixels = tokens.reshape(3, 3, 32, 32, grid, grid).transpose(0, 1, 4, 2, 5, 3).reshape(images.shape)
    counted = np.kron(hidden.numpy(), np.ones((4, 4)))[:, None]
    d = pixels - images.double().numpy()
    assert loss.item() == pytest.approx((np.abs(d) * counted).sum() / (counted.sum() + 1e-5) / 3, rel=1e-6)
    slope = np.sign(d) * counted / (counted.sum() + 1e-5) / 3
    by_token = slope.reshape(3, 3, grid, 32, grid, 32).transpose(0, 1, 3, 5, 2, 4).reshape(tokens.shape)
    expected = np.einsum("bkhw,bdhw->kd", by_token, features)
    gradient = next(model.head.parameters()).grad
    assert gradient is not None
    np.testing.assert_allclose(gradient[:, :, 0, 0].numpy(), expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    "overrides",
    [
        ["head.kind=mlp"],
        ["head={kind: inverse_swin, size: tiny}"],
        ["masking={kind: square, mask_patch_size_px: 8}"],
        ["masking={kind: blockwise, mask_patch_size_px: 4}"],
        ["target={kind: pixels, loss: l2, scope: full, resolution_px: 4}"],
        ["target={kind: pixels, local_norm_px: 47}"],
        ["target={kind: colour_bins, bins: 256, resolution_px: 16}"],
        ["encoder=resnet50", "image_size_px=64"],
        [
            "encoder={name: swin_tiny_patch4_window7_224, arguments: {in_chans: 5, window_size: 8}}",
            *("image_size_px=64", "data.mean=[0,0,0,0,0]", "data.std=[1,1,1,1,1]", "target.resolution_px=16"),
        ],
    ],
    ids=lambda overrides: overrides[0].split("=", 1)[1],
)
def test_every_kind_trains_every_parameter(overrides: list[str]) -> None:
    method = method_of(*overrides)
    encoder, size = method.model.encoder, 64 if "image_size_px=64" in overrides else 32
    side, channels = size // encoder.patch_size_px, 5 if "in_chans: 5" in overrides[0] else 3
    hidden = torch.zeros(2, side, side, dtype=torch.bool)
    hidden[:, : side // 2] = True
    loss = method.loss(torch.randn(2, channels, size, size), hidden)
    loss.backward()
    assert loss.isfinite()
    idle = [name for name, parameter in method.model.named_parameters() if parameter.grad is None]
    assert idle == []


SWIN_192 = "simmim_swin_base_192_100ep"


@pytest.mark.parametrize(
    ("recipe", "overrides", "words"),
    [
        (SWIN_192, ["masking.mask_ratio=1"], "masking.mask_ratio = 1"),
        (SWIN_192, ["masking.mask_ratio=0"], "masking.mask_ratio = 0"),
        (SWIN_192, ["masking.mask_patch_size_px=6"], "mask_patch_size_px = 6\n.*multiple of the encoder's patch"),
        (SWIN_192, ["masking.mask_patch_size_px=40"], "mask_patch_size_px = 40\n.*divisor of image_size_px"),
        (SWIN_192, ["masking.kind=squared"], "masking.kind = squared\n.*random, square, blockwise"),
        (SWIN_192, ["image_size_px=224"], "image_size_px = 224\n.*multiples of the window"),
        (SWIN_192, ["encoder=simmim_vit_base", "image_size_px=200"], "image_size_px = 200\n.*patch size .16 px"),
        (SWIN_192, ["encoder=efficientnet_b0"], "encoder.name = efficientnet_b0\n.*Swin, SwinV2, BEiT, ResNet"),
        (SWIN_192, ["encoder=beit_base_patch16_224"], "global_pool: avg\n.*\n.*global_pool=token"),
        (SWIN_192, ["target.resolution_px=40"], "target.resolution_px = 40\n.*\n.*6, 12, 24, 48, 96, 192"),
        (SWIN_192, ["target.local_norm_px=46"], "target.local_norm_px = 46\n.*odd"),
        (SWIN_192, ["target.los=l2"], "target.los = l2\n.*\n.*Did you mean loss"),
        (
            SWIN_192,
            ["head.kind=inverse_swin", "target.resolution_px=24"],
            "target.resolution_px = 24\n.*multiple of 48",
        ),
        (SWIN_192, ["target={kind: colour_clusters, palette: no.json}"], "target.palette = no.json .no such file"),
        (SWIN_192, ["target={kind: tokens, tokenizer: no.onnx}"], "target.tokenizer = no.onnx\n.*exists"),
        (SWIN_192, ["target.kind=tokens"], "target.tokenizer = .not given"),
    ],
)
def test_parts_that_do_not_fit_are_named(recipe: str, overrides: list[str], words: str) -> None:
    with torch.device("meta"), pytest.raises(UserError) as raised:
        method_of(*overrides, recipe=recipe)
    assert re.search(words, str(raised.value)), str(raised.value)
    assert "remedy:" in str(raised.value)


def problem_of(encoder: str, image_size_px: int) -> MaskedImageModelling:
    overrides = [f"encoder={encoder}", f"image_size_px={image_size_px}", "training.device=cpu"]
    recipe = load_recipe(PretrainRecipe, "pretrain", "simmim_swin_base_192_100ep", overrides)
    return MaskedImageModelling(recipe, 0, Images(Path(), ImageFiles(Path(), []), None, Fingerprint(0, "content", "")))


@pytest.mark.parametrize(("encoder", "size"), [("simmim_vit_base", 224), ("swin_tiny_window6", 192)])
def test_the_mask_token_of_a_vit_decays_and_swins_does_not(encoder: str, size: int) -> None:
    """microsoft/SimMIM: `no_weight_decay` names the mask token for Swin, and only positions and class token for ViT."""
    problem = problem_of(encoder, size)
    decayed = {name for group in problem.groups() if group["weight_decay"] for name in group["names"]}
    matrices = {
        name
        for name, parameter in problem.model.named_parameters()
        if parameter.ndim > 1 and not name.endswith((".bias", "cls_token"))
    }
    spared_in_swin = {name for name in matrices if "relative_position_bias_table" in name} | {"encoder.mask_token"}
    assert "encoder.mask_token" in matrices
    assert decayed == (matrices if "vit" in encoder else matrices - spared_in_swin)


def test_flops_are_those_of_the_encoder_and_one_matrix_product() -> None:
    problem = problem_of("swin_tiny_window6", 192)
    plain = build_backbone(problem.recipe.encoder, 192)
    encoder = forward_flops(plain, lambda: plain(torch.zeros(1, 3, 192, 192)))
    assert problem.flops_per_image == encoder + 2 * 6 * 6 * 768 * (32 * 32 * 3)
