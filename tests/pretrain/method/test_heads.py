"""Heads against SimMIM's table 2, and against what they must not do: look beyond their tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.encoders import find_architecture
from pretrain.method.frame import Frame
from pretrain.method.heads import Head, InverseSwinHead, LinearHead, MlpHead
from pretrain.method.masked_encoders import build_masked_encoder


def frame(features: int, grid: int) -> Frame:
    return Frame(grid * 32, 3, (), (), mask_patch_size_px=32, stride_px=32, features=features)


@pytest.mark.parametrize(
    ("head", "millions"),
    [
        (LinearHead(), 89.9),
        (MlpHead(), 90.9),
        (InverseSwinHead(size="tiny"), 115.2),
        (InverseSwinHead(size="base"), 174.8),
    ],
    ids=["linear", "mlp", "inverse Swin-T", "inverse Swin-B"],
)
def test_parameter_counts_with_swin_base_are_the_papers(head: Head, millions: float) -> None:
    """SimMIM, table 2, at 192 px."""
    with torch.device("meta"):
        encoder = build_masked_encoder(find_architecture("swin_base_window6"), 192, 0.0)
        built = head.build(frame(encoder.channels, 6), 192, 3)
        assert built(torch.zeros(2, encoder.channels, 6, 6)).shape == (2, 3, 192, 192)
    count = sum(parameter.numel() for module in (encoder, built) for parameter in module.parameters())
    assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("resolution", [6, 12, 24, 48, 96, 192])
def test_linear_head_lays_a_token_out_as_its_own_square(resolution: int) -> None:
    torch.manual_seed(0)
    head = LinearHead().build(frame(8, 6), resolution, 3)
    features, square = torch.randn(2, 8, 6, 6), resolution // 6
    predicted = head(features).detach().numpy()
    assert predicted.shape == (2, 3, resolution, resolution)
    weight, bias = (parameter.detach().numpy() for parameter in head.parameters())
    token = weight[:, :, 0, 0] @ features[1, :, 3, 2].numpy() + bias  # order: channel, row, column
    found = predicted[1, :, 3 * square : 4 * square, 2 * square : 3 * square]
    np.testing.assert_allclose(found, token.reshape(3, square, square), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "local"), [(LinearHead(), True), (MlpHead(), True), (InverseSwinHead(), False)], ids=lambda each: str(each)
)
def test_what_a_token_reaches(head: Head, local: bool) -> None:
    """Linear and MLP heads predict from one token; an inverse Swin, with windows as wide as the grid, from all."""
    torch.manual_seed(0)
    built = head.build(frame(16, 2), 64, 3).eval()
    features = torch.randn(1, 16, 2, 2)
    changed = features.clone()
    changed[..., 0, 0] += 1
    with torch.no_grad():
        moved = (built(features) != built(changed)).any(dim=1)[0]
    assert moved[:32, :32].all()
    assert moved[32:].any() != local


@pytest.mark.parametrize(("resolution", "outputs"), [(48, 24), (96, 3)])
def test_inverse_swin_predicts_coarser_targets_too(resolution: int, outputs: int) -> None:
    with torch.device("meta"):
        built = InverseSwinHead().build(frame(1024, 6), resolution, outputs)
        assert built(torch.zeros(2, 1024, 6, 6)).shape == (2, outputs, resolution, resolution)
