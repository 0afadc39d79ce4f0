"""The method against the paper's formula in NumPy, and against plain timm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.encoders import Architecture, find_architecture
from benchmarks.errors import UserError
from pretrain.encoders import MaskedSwin, build_masked_encoder
from pretrain.heads import LinearHead
from pretrain.simmim import SimMIM, masked_l1


@pytest.fixture(scope="module")
def encoder() -> MaskedSwin:
    torch.manual_seed(0)
    return build_masked_encoder(find_architecture("digits_swin"), 64, 0.0).eval()


def random_case(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(3, 3, 64, 64, generator=generator)
    predicted = torch.randn(3, 3, 64, 64, generator=generator)
    hidden = torch.rand(3, 16, 16, generator=generator) < 0.6
    return images, predicted, hidden


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_and_gradient_equal_the_formula_in_float64(seed: int) -> None:
    images, predicted, hidden = random_case(seed)
    predicted.requires_grad_()
    loss = masked_l1(predicted, images, hidden)
    (gradient,) = torch.autograd.grad(loss, predicted)

    x, y = images.double().numpy(), predicted.detach().double().numpy()
    pixels = np.kron(hidden.numpy(), np.ones((4, 4)))[:, None]  # the mask, enlarged to pixels [B, 1, H, W]
    expected = (np.abs(x - y) * pixels).sum() / (pixels.sum() + 1e-5) / 3
    expected_gradient = np.sign(y - x) * pixels / (pixels.sum() + 1e-5) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient.numpy(), expected_gradient, rtol=1e-6, atol=1e-12)


def test_hidden_pixels_cannot_be_seen(encoder: MaskedSwin) -> None:
    images, other, hidden = random_case(0)
    pixels = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2).unsqueeze(1)
    changed = torch.where(pixels, other, images)
    with torch.no_grad():
        assert encoder(images, hidden).equal(encoder(changed, hidden))
        assert not encoder(images, ~hidden).equal(encoder(changed, ~hidden))


def test_without_a_mask_it_is_timm_itself(encoder: MaskedSwin) -> None:
    images, _, _ = random_case(0)
    with torch.no_grad():
        ours = encoder(images, torch.zeros(3, 16, 16, dtype=torch.bool))
        theirs = encoder.backbone.forward_features(images).permute(0, 3, 1, 2)
    assert ours.equal(theirs)


def test_everything_hidden_is_the_mask_token_everywhere(encoder: MaskedSwin) -> None:
    images, other, _ = random_case(0)
    everything = torch.ones(3, 16, 16, dtype=torch.bool)
    with torch.no_grad():
        features = encoder(images, everything)
        assert features.equal(encoder(other, everything))
        token = encoder.mask_token.expand(3, 16, 16, -1)
        expected = encoder.backbone.norm(encoder.backbone.layers(token)).permute(0, 3, 1, 2)
    torch.testing.assert_close(features, expected)


def test_linear_head_lays_a_token_out_as_its_own_square() -> None:
    torch.manual_seed(0)
    head = LinearHead(channels=8, stride_px=4, image_channels=3)
    features = torch.randn(2, 8, 5, 6)
    pixels = head(features).detach()
    assert pixels.shape == (2, 3, 20, 24)
    weight, bias = head.project.weight.detach().numpy()[:, :, 0, 0], head.project.bias.detach().numpy()
    token = weight @ features[1, :, 3, 2].numpy() + bias  # order: channel, row, column
    np.testing.assert_allclose(pixels[1, :, 12:16, 8:12].numpy(), token.reshape(3, 4, 4), rtol=1e-4, atol=1e-5)


def test_parameter_count_of_swin_base_with_linear_head_is_the_papers() -> None:
    with torch.device("meta"):
        model = SimMIM(build_masked_encoder(find_architecture("swin_base_window6"), 192, 0.0), 3)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(millions, 1) == 89.9, "SimMIM, table 2: linear head, 89.9M in all"


def test_other_families_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="resnet18"):
        build_masked_encoder(Architecture(name="resnet18"), None, 0.0)  # type: ignore[arg-type]


def test_misspelt_architecture_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match="Did you mean swin_base"):
        build_masked_encoder(Architecture(name="swin_bas_patch4_window7_224"), 224, 0.0)
