"""Dense maps of families beyond Swin and ViT, against other libraries' and timm's own feature extractors."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from benchmarks.encoders import Architecture
from benchmarks.errors import UserError
from tests.support.libraries import library
from tests.support.random_weights import randomise
from tests.transfer.encoder.witnesses import difference, images
from transfer.encoder.dense import build_encoder
from transfer.encoder.head_maps import HeadMaps

LIMIT = 1e-5


def settled(model: nn.Module) -> Any:
    """Return a model in evaluation mode whose weights and running statistics are random, but tame."""
    randomise(model)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean = torch.randn(norm.num_features) * 0.1
            norm.running_var = torch.rand(norm.num_features) + 1
    return model.eval()


@pytest.mark.parametrize("size", [(96, 128), (161, 223), (130, 195)])
def test_torchvisions_resnet_50_under_its_pyramid(size: tuple[int, int]) -> None:
    """The body of torchvision's Faster R-CNN has the same names, and its maps at sizes of any remainder."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    made = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d)
    theirs: Any = settled(made).body
    ours = build_encoder(Architecture(name="resnet50")).eval()
    ours.backbone.load_state_dict(theirs.state_dict(), strict=True)
    with torch.no_grad():
        found, expected = ours(images(*size)), list(theirs(images(*size)).values())
    assert (ours.channels, ours.strides) == ((256, 512, 1024, 2048), (4, 8, 16, 32))
    assert max(float(each.abs().max()) for each in expected) > 1e-3
    assert difference(found, expected) < LIMIT


@pytest.mark.parametrize(
    ("name", "arguments", "sizes"),
    [
        ("resnet18", {}, [(64, 96), (101, 157)]),
        ("regnetx_002", {}, [(64, 96), (101, 157)]),
        ("convnext_atto", {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}, [(64, 96), (128, 64)]),
        ("pvt_v2_b0", {}, [(64, 96), (101, 157)]),
        ("hiera_tiny_224", {"embed_dim": 24, "num_heads": 1, "stages": (1, 1, 2, 1), "img_size": 96}, [(96, 96)]),
        (
            "swinv2_cr_tiny_ns_224",
            {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4), "img_size": 64},
            [(64, 64)],
        ),
    ],
)
def test_timms_own_extractor(name: str, arguments: dict[str, Any], sizes: list[tuple[int, int]]) -> None:
    """The same seed gives both the same weights; timm's extractor lists the maps of a stem, too, which we leave out."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, features_only=True, **arguments).eval()
    torch.manual_seed(0)
    backbone = timm.create_model(name, **arguments)
    backbone.reset_classifier(0)
    ours = build_encoder(Architecture.model_construct(name=name, arguments=arguments, norm_eps=None)).eval()
    ours.backbone.load_state_dict(backbone.state_dict(), strict=True)
    with torch.no_grad():
        for size in sizes:
            assert difference(ours(images(*size)), theirs(images(*size))[-4:]) < LIMIT


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_small_patch16_dinov3", {}),
        ("eva02_tiny_patch14_224", {"patch_size": 16}),
        ("vit_pe_core_tiny_patch16_384", {}),
        ("vit_small_patch16_rope_224", {}),
    ],
)
@pytest.mark.parametrize("size", [(96, 96), (64, 160), (101, 157)])
def test_rotary_positions_follow_the_images_grid(name: str, arguments: dict[str, Any], size: tuple[int, int]) -> None:
    """Built for 96 px and shown another size, an encoder computes what timm's model for any size computes."""
    small = {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 96, **arguments}
    ours = build_encoder(Architecture(name=name, arguments=small)).eval()
    settled(ours.backbone)
    theirs = timm.create_model(name, num_classes=0, **{**small, "dynamic_img_size": True}).eval()
    theirs.load_state_dict(ours.backbone.state_dict(), strict=True)
    height, width = (-(-side // 16) * 16 for side in size)
    batch = torch.zeros(2, 3, height, width)
    batch[:, :, : size[0], : size[1]] = images(*size)
    with torch.no_grad():
        found = ours(images(*size))
        expected = theirs.forward_intermediates(batch, indices=1, intermediates_only=True)
    assert (ours.strides, found[0].shape[2:]) == ((16,), (height // 16, width // 16))
    assert difference(found, expected) < LIMIT


def test_transformers_convnext() -> None:
    """The states that transformers hands on after each stage."""
    transformers = library("transformers", "transformers")
    sizes = {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]}
    theirs = settled(transformers.ConvNextModel(transformers.ConvNextConfig(**sizes)))
    arguments: dict[str, Any] = {"depths": sizes["depths"], "dims": sizes["hidden_sizes"]}
    ours = build_encoder(Architecture(name="convnext_atto", arguments={**arguments, "conv_mlp": False})).eval()
    ours.backbone.load_state_dict(_timms(theirs.state_dict()), strict=True)
    for module in ours.backbone.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    with torch.no_grad():
        states = theirs(images(64, 96), output_hidden_states=True).hidden_states
    with torch.no_grad():
        assert difference(ours(images(64, 96)), list(states[1:])) < LIMIT


def _timms(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a ConvNeXt's weights of transformers under timm's names."""
    renamed = {}
    for name, tensor in weights.items():
        for theirs, ours in (
            ("encoder.", ""),
            ("embeddings.patch_embeddings", "stem.0"),
            ("embeddings.layernorm", "stem.1"),
            (".downsampling_layer.", ".downsample."),
            (".layers.", ".blocks."),
            (".dwconv.", ".conv_dw."),
            (".layernorm.", ".norm."),
            (".pwconv1.", ".mlp.fc1."),
            (".pwconv2.", ".mlp.fc2."),
            (".layer_scale_parameter", ".gamma"),
        ):
            name = name.replace(theirs, ours)
        renamed["head.norm." + name.rpartition(".")[2] if name.startswith("layernorm.") else name] = tensor
    return renamed


@pytest.mark.parametrize(
    ("name", "norms"),
    [("resnet10t", 0), ("regnetx_002", 0), ("convnext_atto", 4), ("swin_tiny_patch4_window7_224", 4), ("pvt_v2_b0", 0)],
)
def test_maps_pass_a_norm_where_the_authors_code_has_one(name: str, norms: int) -> None:
    """Those of ResNets do not (torchvision, detectron2); of Swin and ConvNeXt they do. What stands idle is frozen."""
    with torch.device("meta"):
        maps = HeadMaps(build_encoder(Architecture(name=name)))
    assert len(maps.norms) == norms
    frozen = {each.rpartition(".")[0] for each, one in maps.encoder.named_parameters() if not one.requires_grad}
    assert frozen == ({"backbone.head.norm"} if name == "convnext_atto" else {"backbone.norm"} if norms else set())


def test_larger_images_than_the_only_size_are_refused_in_words() -> None:
    ours = build_encoder(Architecture(name="test_vit_relpos", arguments={"img_size": 96})).eval()
    with torch.no_grad():
        assert [tuple(each.shape[2:]) for each in ours(images(50, 96))] == [(4, 6)]
        with pytest.raises(UserError, match="at most image_size_px \\(96\\)"):
            ours(images(96, 97))
