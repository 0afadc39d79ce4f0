"""FLOPs of a forward pass against those that torchvision publishes with its weights."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision

from benchmarks.engine.flops import forward_flops


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet50", torchvision.models.ResNet50_Weights.DEFAULT),
        ("swin_tiny_patch4_window7_224", torchvision.models.Swin_T_Weights.DEFAULT),
        ("vit_base_patch16_224", torchvision.models.ViT_B_16_Weights.DEFAULT),
    ],
)
def test_flops_are_twice_the_published_multiply_adds(ours: str, theirs: object) -> None:
    """torchvision counts multiply-adds, in billions, and rounds to three digits after the point."""
    model = timm.create_model(ours)
    found = forward_flops(model, lambda: model(torch.zeros(1, 3, 224, 224)))
    assert found / 2e9 == pytest.approx(theirs.meta["_ops"], rel=0.01)  # type: ignore[attr-defined]
    assert model.training, "left as it was"


def test_a_parameter_that_is_an_input_itself() -> None:
    """The latent parameter of attention pooling is a layer's input, of which nothing is kept for gradients."""
    pool = timm.layers.AttentionPoolLatent(32, num_heads=4, mlp_ratio=2, pool_type="token")
    tokens, latent = 10 * 32 * 32, 32 * 32
    matrices = 2 * tokens + 2 * latent + 2 * 2 * latent  # keys and values; query, projection; both layers of the MLP
    found = forward_flops(pool, lambda: pool(torch.zeros(1, 10, 32)))
    assert 2 * matrices <= found <= 2 * (matrices + 2 * 10 * 32), "besides them only attention itself"
    assert all(parameter.requires_grad for parameter in pool.parameters())
