"""Parameter groups of the fine-tuning recipes against microsoft/SimMIM's, for all of its architectures.

The rules are written out again from SimMIM's `optimizer.py` and the `no_weight_decay` of its models, in its own names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import timm
import torch
from torch import Tensor, nn

from benchmarks.config import load_recipe
from benchmarks.engine.optim import parameter_groups
from benchmarks.families.table import family_of
from transfer.classification.recipe import FinetuneRecipe

DEPTHS = (2, 2, 18, 2)
BLOCK_BIAS = {"use_rel_pos_bias": True, "use_abs_pos_emb": False, "init_values": 0.1}


def swin_name(name: str) -> str:
    """timm keeps a PatchMerging at the start of the next stage; microsoft at the end of its own."""
    part = name.split(".")
    if part[0] == "layers" and part[2] == "downsample":
        part[1] = str(int(part[1]) - 1)
    return ".".join(part)


def swin_layer(name: str) -> int:
    part = swin_name(name).split(".")
    if part[0] == "patch_embed":
        return 0
    if part[0] != "layers":
        return 25
    if part[2] == "downsample":
        return sum(DEPTHS[: int(part[1]) + 1])
    return sum(DEPTHS[: int(part[1])]) + int(part[3]) + 1


def vit_layer(name: str) -> int:
    part = name.split(".")
    if part[0] in ("cls_token", "mask_token", "pos_embed", "patch_embed"):
        return 0
    return int(part[1]) + 1 if part[0] == "blocks" else 13


def expected(
    model: nn.Module,
    layer: Callable[[str], int],
    layers: int,
    rate: float,
    names: Sequence[str],
    keywords: Sequence[str],
) -> dict[str, tuple[float, float]]:
    """Return (scale of the rate, weight decay) of every parameter."""

    def decay(name: str, tensor: Tensor) -> float:
        spared = tensor.ndim == 1 or name.endswith(".bias") or name in names or any(word in name for word in keywords)
        return 0.0 if spared else 0.05

    scales = [rate**power for power in reversed(range(layers))]
    return {name: (scales[layer(name)], decay(name, tensor)) for name, tensor in model.named_parameters()}


SWIN = ("absolute_pos_embed",), ("relative_position_bias_table",)
SWINV2 = ("absolute_pos_embed",), ("cpb_mlp", "logit_scale", "relative_position_bias_table")
VIT = ("pos_embed", "cls_token"), ()


@pytest.mark.parametrize(
    ("recipe", "architecture", "arguments", "layer", "layers", "spared"),
    [
        ("imagenet1k_swin_base_192_after_100ep", "swin_base_patch4_window7_224", {}, swin_layer, 26, SWIN),
        ("imagenet1k_swin_base_224_after_800ep", "swin_base_patch4_window7_224", {}, swin_layer, 26, SWIN),
        ("imagenet1k_swin_large_224_after_800ep", "swin_large_patch4_window7_224", {}, swin_layer, 26, SWIN),
        ("imagenet1k_swinv2_base_224_after_800ep", "swinv2_base_window12_192", {}, swin_layer, 26, SWINV2),
        ("imagenet1k_vit_base_224_after_800ep", "beit_base_patch16_224", BLOCK_BIAS, vit_layer, 14, VIT),
    ],
)
def test_groups_equal_simmims(
    recipe: str,
    architecture: str,
    arguments: dict[str, object],
    layer: Callable[[str], int],
    layers: int,
    spared: tuple[Sequence[str], Sequence[str]],
) -> None:
    config = load_recipe(FinetuneRecipe, "transfer", recipe).config
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=1000, **arguments)
    ours = family_of(model).layers()
    assert ours.count == layers
    groups = parameter_groups(model, config.training.weight_decay, ours.of, ours.count, config.layer_decay)
    found = {name: (group["lr_scale"], group["weight_decay"]) for group in groups for name in group["names"]}
    assert found == expected(model, layer, layers, config.layer_decay, *spared)


@pytest.mark.parametrize(
    ("recipe", "image", "window", "drop_path", "layer_decay"),
    [
        ("imagenet1k_swin_base_192_after_100ep", 192, 6, 0.1, 0.9),
        ("imagenet1k_swin_base_224", 224, 7, 0.1, 0.9),
        ("imagenet1k_swin_base_224_after_800ep", 224, 7, 0.1, 0.8),
        ("imagenet1k_swin_large_224_after_800ep", 224, 14, 0.2, 0.7),
        ("imagenet1k_swinv2_base_224_after_800ep", 224, 14, 0.1, 0.75),
        ("imagenet1k_vit_base_224_after_800ep", 224, None, 0.1, 0.65),
    ],
)
def test_recipes_hold_the_published_values(
    recipe: str, image: int, window: int | None, drop_path: float, layer_decay: float
) -> None:
    """As read in microsoft/SimMIM's `configs/*/simmim_finetune__*.yaml` (SwinV2: in microsoft/Swin-Transformer)."""
    config = load_recipe(FinetuneRecipe, "transfer", recipe).config
    assert (config.image_size_px, config.window_size) == (image, window)
    assert (config.drop_path_rate, config.layer_decay) == (drop_path, layer_decay)
    training = config.training
    assert (training.epochs, training.batch_size, training.weight_decay, training.clip_grad_norm) == (
        100,
        2048,
        0.05,
        5,
    )
    schedule = training.schedule.model_dump(include={"base_lr", "warmup_lr", "min_lr", "warmup_epochs", "per_images"})
    assert list(schedule.values()) == [1.25e-3, 2.5e-7, 2.5e-7, 20, 512]
