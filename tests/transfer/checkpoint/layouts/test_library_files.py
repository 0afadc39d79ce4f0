"""Files of torchvision, transformers, mmpretrain and open_clip: read whole, with the features of their own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from tests.support.random_weights import randomise
from tests.transfer.checkpoint.library_zoo import FOREIGN, SIDE, WRAPPERS, torchvision_resnet
from transfer.checkpoint.foreign import ForeignEncoder, read_foreign


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", FOREIGN)
def test_features_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    foreign = FOREIGN[name](tmp_path)
    read = read_foreign(foreign.save(tmp_path))
    assert read.layout.name == foreign.layout
    ours = _built(read)
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        theirs = foreign.dense(images)
        assert theirs.std() > 0.01, "features that differ show something"
        assert _difference(_like(ours.forward_features(images), theirs), theirs) < 1e-5
        if foreign.pooled is not None:
            assert _difference(ours(images), foreign.pooled(images)) < 1e-5


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_resnet_is_found_in_what_self_supervised_methods_wrap_it_in(wrapper: str, tmp_path: Path) -> None:
    """MoCo v2, SimCLR, SwAV, BYOL, Barlow Twins, VISSL and SparK, each with what its training leaves beside it."""
    foreign = torchvision_resnet("BasicBlock", [1, 1, 1, 1])(tmp_path)
    encoder = {name: tensor for name, tensor in foreign.tensors.items() if not name.startswith("fc.")}
    other = {name: tensor + 1 for name, tensor in encoder.items()}
    beside = {
        "module.encoder_q.": {f"module.encoder_k.{name}": tensor for name, tensor in other.items()},
        "online_encoder.net.": {f"target_encoder.net.{name}": tensor for name, tensor in other.items()},
        "module.": {
            "module.projection_head.0.weight": torch.ones(8, 512),
            "module.prototypes.weight": torch.ones(9, 8),
        },
        "module.backbone.": {"module.projector.0.weight": torch.ones(8, 512)},
        "sparse_encoder.sp_cnn.": {"dense_decoder.dec.0.conv.0.weight": torch.ones(4, 4, 3, 3)},
    }
    torch.save(
        {"model": {wrapper + name: t for name, t in encoder.items()} | beside.get(wrapper, {})}, tmp_path / "f.pth"
    )
    read = read_foreign(tmp_path / "f.pth")
    assert read.found.prefix == wrapper
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert _difference(_built(read).forward_features(images), foreign.dense(images)) < 1e-5


def test_what_no_tensor_shows_is_asked_for(tmp_path: Path) -> None:
    """CLIP's activation: with one or the other, features differ."""
    foreign = FOREIGN["open_clip, GELU"](tmp_path)
    torch.save(foreign.tensors, tmp_path / "clip.pt")
    with pytest.raises(UserError, match=r"add --architecture vit_base_patch16_clip_224 or \S+quickgelu"):
        read_foreign(tmp_path / "clip.pt")


def test_a_resnet_that_timm_cannot_build_is_refused(tmp_path: Path) -> None:
    """SimCLR's for CIFAR has a stem of 3x3; CLIP's ResNets are other models under some of the names."""
    model = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1])
    small = randomise(model).state_dict() | {"conv1.weight": torch.randn(64, 3, 3, 3)}
    torch.save(small, tmp_path / "cifar.pth")
    with pytest.raises(UserError, match=r"conv1.weight = \[64, 3, 3, 3\]"):
        read_foreign(tmp_path / "cifar.pth")
    clip = {f"visual.{name}": tensor for name, tensor in model.state_dict().items() if not name.startswith("fc.")}
    torch.save(clip | {"visual.conv3.weight": torch.randn(64, 32, 3, 3)}, tmp_path / "clip.pth")
    with pytest.raises(UserError, match=r"timm:resnet50_clip\.openai"):
        read_foreign(tmp_path / "clip.pth")


def test_an_encoder_of_videos_is_refused(tmp_path: Path) -> None:
    names = {"patch_embed.proj.weight": (64, 3, 2, 16, 16), "blocks.0.attn.qkv.weight": (192, 64)}
    torch.save({"encoder": {f"module.{k}": torch.randn(v) for k, v in names.items()}}, tmp_path / "vjepa.pt")
    with pytest.raises(UserError, match="patches span several frames"):
        read_foreign(tmp_path / "vjepa.pt")


def _built(read: ForeignEncoder) -> Any:
    model: Any = build_backbone(read.inferred.architecture, None, whole_windows=False)
    model.load_state_dict(read.weights, strict=True)
    return model.eval()


def _like(found: Tensor, expected: Tensor) -> Tensor:
    """Return tokens in the arrangement of the other library, which may have a map of them."""
    if found.ndim == expected.ndim:
        return found
    if found.ndim == 4:
        return found.flatten(1, 2) if found.shape[-1] == expected.shape[-1] else found.flatten(2).transpose(1, 2)
    return found


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.ndim == 3 and found.shape[1] == expected.shape[1] + 1:
        found = found[:, 1:]  # open_clip returns the tokens of patches alone
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / max(1.0, float(expected.abs().max())))
