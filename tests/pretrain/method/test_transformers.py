"""The method against Hugging Face transformers: its SimMIM for Swin and SwinV2, its masked BEiT for SimMIM's ViT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from benchmarks.encoders import Architecture, find_architecture
from pretrain.method.fast_step import FastStep
from pretrain.method.frame import Frame
from pretrain.method.heads import LinearHead
from pretrain.method.masked_encoders import build_masked_encoder
from pretrain.method.masking import RandomMask
from pretrain.method.simmim import Method, SimMIM
from pretrain.method.targets import Pixels
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.encoder.witnesses import (
    copy,
    copy_transformers_swin,
    copy_transformers_swinv2,
    copy_transformers_vit,
)

transformers: Any = library("transformers", "transformers")
SHAPE: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8], "window_size": 4}


class Case(NamedTuple):
    """A family: its timm model, its classes and its encoder's attribute there, and who copies weights to ours."""

    timm_name: str
    prefix: str
    attribute: str
    copy_encoder: Callable[[Any, Any], None]


CASES = {
    "swin": Case("swin_tiny_patch4_window7_224", "Swin", "swin", copy_transformers_swin),
    "swinv2": Case(
        "swinv2_tiny_window8_256",
        "Swinv2",
        "swinv2",
        lambda mine, theirs: copy_transformers_swinv2(mine, theirs.swinv2),
    ),
}


def pair(case: Case) -> tuple[Method, Any]:
    """Return our method and transformers' model with the same weights, for 128 px."""
    config = getattr(transformers, f"{case.prefix}Config")(
        image_size=128, encoder_stride=32, layer_norm_eps=1e-5, drop_path_rate=0.0, **SHAPE
    )
    theirs = getattr(transformers, f"{case.prefix}ForMaskedImageModeling")(config)
    randomise(theirs)
    encoder = build_masked_encoder(Architecture(name=case.timm_name, arguments=SHAPE), 128, 0.0)
    frame = Frame(128, 3, (0.0,) * 3, (1.0,) * 3, 32, encoder.stride_px, encoder.channels)
    head = LinearHead().build(frame, 128, 3)
    inner, backbone = getattr(theirs, case.attribute), encoder.backbone
    with torch.no_grad():
        case.copy_encoder(backbone, theirs)
        copy(backbone.norm, inner.layernorm)
        encoder.mask_token.copy_(inner.embeddings.mask_token.view(1, 1, 1, -1))
    head.load_state_dict(theirs.decoder.state_dict())
    return Method(SimMIM(encoder, head), Pixels().build(frame, torch.device("cpu"))), theirs


@pytest.mark.parametrize("fast", [None, FastStep(windows=True, hidden=10)], ids=["plain", "fast"])
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradients_are_transformers(name: str, fast: FastStep | None) -> None:
    """Also of the fast step, which looks at the 10 tokens of 16 that are hidden."""
    case = CASES[name]
    ours, theirs = pair(case)
    ours = replace(ours, fast=fast, grid=4)
    random = torch.Generator().manual_seed(1)
    images, hidden = torch.randn(2, 3, 128, 128, generator=random), RandomMask().sample(2, 128, 4, random)
    found, said = ours.loss(images, hidden), theirs(images, bool_masked_pos=hidden.flatten(1)).loss
    assert found.item() == pytest.approx(said.item(), rel=1e-6)

    found.backward()
    said.backward()
    inner, encoder = getattr(theirs, case.attribute), ours.model.encoder
    backbone: Any = encoder.backbone
    pairs: list[tuple[nn.Parameter, nn.Parameter]] = [
        (encoder.mask_token, inner.embeddings.mask_token),
        (backbone.patch_embed.proj.weight, inner.embeddings.patch_embeddings.projection.weight),
        (backbone.norm.weight, inner.layernorm.weight),
        *zip(ours.model.head.parameters(), theirs.decoder.parameters(), strict=True),
    ]
    for mine, other in pairs:
        assert mine.grad is not None
        assert other.grad is not None
        largest = other.grad.abs().max()
        assert largest > 0
        difference = (mine.grad.flatten() - other.grad.flatten()).abs().max()
        # SwinV2 divides by the length of queries and keys, which magnifies the rounding of what follows a short token.
        assert difference < (1e-5 if fast is None else 2e-5) * largest


def test_features_of_simmims_vit_are_transformers() -> None:
    config = transformers.BeitConfig(
        image_size=64,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        layer_norm_eps=1e-6,
        use_mean_pooling=False,
        use_mask_token=True,
        use_absolute_position_embeddings=False,
        use_shared_relative_position_bias=True,
    )
    theirs = transformers.BeitModel(config, add_pooling_layer=False).eval()
    randomise(theirs)
    small = find_architecture("simmim_vit_base").with_arguments(embed_dim=24, depth=2, num_heads=3)
    encoder = build_masked_encoder(small, 64, 0.0).eval()
    backbone: Any = encoder.backbone
    copy_transformers_vit(backbone, theirs)
    with torch.no_grad():
        copy(backbone.norm, theirs.layernorm)
        table = theirs.shared_position_bias.relative_position_bias_table
        backbone.rel_pos_bias.relative_position_bias_table.copy_(table)
        encoder.mask_token.copy_(theirs.embeddings.mask_token)
        random = torch.Generator().manual_seed(1)
        images, hidden = torch.randn(2, 3, 64, 64, generator=random), torch.rand(2, 4, 4, generator=random) < 0.6
        said = theirs(images, bool_masked_pos=hidden.flatten(1)).last_hidden_state[:, 1:]
        found = encoder(images, hidden)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), said, rtol=1e-4, atol=1e-5)
