"""Files of detectron2, SAM 2 and FCMAE's sparse pretraining, in the names that their authors' code gives them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision

from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from tests.support.random_weights import randomise
from tests.transfer.checkpoint.dense_files import detectron2, sam2, sparse
from transfer.checkpoint.architecture.infer import infer
from transfer.checkpoint.foreign import ForeignEncoder, read_foreign
from transfer.checkpoint.layouts.known import identify

BESIDE = {
    "backbone.fpn_lateral2.weight": torch.ones(8, 256, 1, 1),
    "backbone.top_block.p6.weight": torch.ones(4, 4, 3, 3),
    "proposal_generator.rpn_head.conv.weight": torch.ones(4, 4, 3, 3),
    "roi_heads.box_head.fc1.weight": torch.ones(4, 4),
}
"""Some of what a detector has beside its ResNet."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("block", ["Bottleneck", "BasicBlock"])
def test_a_resnet_of_detectron2_has_torchvisions_maps(block: str, tmp_path: Path) -> None:
    model = _torchvision(block)
    torch.save({"model": detectron2(model.state_dict()) | BESIDE}, tmp_path / "model_final.pth")
    read = read_foreign(tmp_path / "model_final.pth")
    assert (read.layout.name, read.found.prefix, read.stage) == (
        "detectron2-resnet",
        "backbone.bottom_up.",
        "fine-tuned",
    )
    assert "taken to be RGB" in read.inferred.notes[0]
    ours, images = _built(read), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        found = ours.forward_intermediates(images, indices=[1, 2, 3, 4], intermediates_only=True)
        images = model.maxpool(model.relu(model.bn1(model.conv1(images))))
        for each, stage in zip(found, (model.layer1, model.layer2, model.layer3, model.layer4), strict=True):
            images = stage(images)
            torch.testing.assert_close(each, images, rtol=1e-5, atol=1e-5)


def test_torchvisions_resnet_in_detectron2s_pickle_is_read(tmp_path: Path) -> None:
    """As `tools/convert-torchvision-to-d2.py` of detectron2 writes R-50.pkl, with its classifier under the stem."""
    weights = detectron2(_torchvision("Bottleneck").state_dict())
    arrays = {name.removeprefix("backbone.bottom_up."): tensor.numpy() for name, tensor in weights.items()}
    content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content))
    assert read_foreign(tmp_path / "R-50.pkl").layout.name == "detectron2-resnet"


def test_caffes_resnets_are_refused_with_the_reason(tmp_path: Path) -> None:
    """MSRA's: batch norms are merged, so that their statistics are 0 and 1, as FrozenBatchNorm2d begins."""
    weights = detectron2(_torchvision("Bottleneck").state_dict())
    merged = {name: torch.zeros_like(each) if "running_mean" in name else each for name, each in weights.items()}
    merged |= {name: torch.ones_like(each) for name, each in weights.items() if "running_var" in name}
    torch.save({"model": merged | BESIDE}, tmp_path / "mask_rcnn_R_50_FPN_3x.pth")
    with pytest.raises(UserError, match=r"running means are all 0\n.*BGR images of 0 to 255.*\n.*timm:resnet50"):
        read_foreign(tmp_path / "mask_rcnn_R_50_FPN_3x.pth")
    caffe = {"conv1_w": (64, 3, 7, 7), "res_conv1_bn_s": (64,), "res2_0_branch2a_w": (64, 64, 1, 1), "fc1000_b": (9,)}
    arrays = {name: np.ones(shape, "float32") for name, shape in caffe.items()}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(arrays))
    with pytest.raises(UserError, match="a ResNet of Caffe2"):
        read_foreign(tmp_path / "R-50.pkl")


def test_fcmaes_sparse_kernels_become_convolutions(tmp_path: Path) -> None:
    """facebookresearch/ConvNeXt-V2 `utils.py`: pixels of a kernel lie column by column, [k * k, in, out]."""
    model = randomise(timm.create_model("convnextv2_atto", num_classes=0, conv_mlp=False)).eval()
    file = {f"encoder.{name}": each for name, each in sparse(model.state_dict()).items()}
    file |= {"mask_token": torch.ones(1, 512, 1, 1), "decoder.0.dwconv.weight": torch.ones(512, 1, 7, 7)}
    torch.save({"model": file | {"pred.weight": torch.ones(3072, 512, 1, 1)}}, tmp_path / "fcmae.pth")
    read = read_foreign(tmp_path / "fcmae.pth")
    assert (read.layout.name, read.stage) == ("sparse-convnext", "self-supervised")
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert _built(read).stages(_built(read).stem(images)).equal(model.stages(model.stem(images)))
    names = {name for name in file if name.startswith("encoder.")}
    assert {f"encoder.{name}" for name in read.layout.names_back(read.weights) if not name.startswith("norm.")} == names
    file["encoder.stages.0.0.dwconv.kernel"] = torch.ones(48, 40)
    torch.save({"model": file}, tmp_path / "odd.pth")
    odd = read_foreign(tmp_path / "odd.pth").weights["stages.0.blocks.0.conv_dw.weight"]
    assert odd.shape == (48, 40), "a kernel of no square stays, so that the load report names it"


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2_hiera_small", "sam2_hiera_base_plus", "sam2_hiera_large"])
def test_sam_2s_encoder_is_found_in_the_whole_model(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
        weights = sam2(model.state_dict())
    layout = identify(weights)
    read = layout.to_timm(weights)
    assert (layout.name, infer(layout, read, {}).architecture.name) == ("sam2", name)
    shapes = {key: each.shape for key, each in model.state_dict().items() if not key.startswith("head.")}
    assert {key: each.shape for key, each in read.items()} == shapes


def test_sam_2s_maps_are_timms(tmp_path: Path) -> None:
    model = randomise(timm.create_model("sam2_hiera_tiny", num_classes=0)).eval()
    file = {f"image_encoder.trunk.{key}": each for key, each in sam2(model.state_dict()).items()}
    beside = {
        "image_encoder.neck.convs.0.conv.weight": torch.ones(8, 8, 1, 1),
        "maskmem_tpos_enc": torch.ones(7, 1, 1, 4),
    }
    torch.save({"model": file | beside | {"sam_mask_decoder.iou_token.weight": torch.ones(1, 8)}}, tmp_path / "sam2.pt")
    read = read_foreign(tmp_path / "sam2.pt")
    assert (read.found.prefix, read.stage) == ("image_encoder.trunk.", None)
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        assert _built(read).forward_features(images).equal(model.forward_features(images))


def test_data2vec_2_is_refused(tmp_path: Path) -> None:
    """fairseq `examples/data2vec/models/modalities/modules.py`, AltBlock: the norms follow the sums."""
    patches = "modality_encoders.IMAGE.local_encoder.proj.weight"
    names = {patches: (768, 3, 16, 16), "blocks.0.attn.qkv.weight": (64, 8), "blocks.0.norm1.weight": (8,)}
    torch.save({"model": {name: torch.randn(shape) for name, shape in names.items()}}, tmp_path / "base_imagenet.pt")
    with pytest.raises(UserError, match=r"data2vec 2\.0"):
        read_foreign(tmp_path / "base_imagenet.pt")


def _torchvision(block: str) -> Any:
    model = randomise(torchvision.models.ResNet(getattr(torchvision.models.resnet, block), [1, 2, 1, 1])).eval()
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand(buffer.shape) * 0.1)
    return model


def _built(read: ForeignEncoder) -> Any:
    model: Any = build_backbone(read.inferred.architecture, None, whole_windows=False)
    model.load_state_dict(read.weights, strict=True)
    return model.eval()
