"""Files of torchvision's own networks: found by their tensors, run as torchvision runs them, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.regnet import BlockParams, RegNet

import mimbench
from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from benchmarks.families.parts import BLOCKS
from benchmarks.families.table import family_of
from tests.support.random_weights import randomise
from tests.support.runs import only_run
from transfer.checkpoint.architecture.infer import infer
from transfer.checkpoint.architecture.normalisation import torchvisions
from transfer.checkpoint.architecture.stated import state
from transfer.checkpoint.foreign import ForeignEncoder, read_foreign
from transfer.checkpoint.layouts.known import identify
from transfer.encoder.dense import build_encoder
from transfer.encoder.proof.loading import load_encoder, require_complete

NODES = {
    "densenet121": ("features.denseblock3", "features.norm5", "flatten"),
    "efficientnet_b0": ("features.5", "features.8", "classifier.0"),
    "mobilenet_v2": ("features.13", "features.18", "classifier.0"),
    "mobilenet_v3_small": ("features.8", "features.12", "classifier.2"),
    "regnet_y_400mf": ("trunk_output.block3", "trunk_output.block4", "flatten"),
}
"""The last map of stride 16, the last of all, and what the last layer takes: names of torchvision's own extractor."""
FIXED = {"maxvit_t": ("blocks.2", "blocks.3", "classifier.4")}
ALL = (
    "densenet169",
    "efficientnet_b3",
    "mobilenet_v3_large",
    "regnet_x_3_2gf",
    "vgg16",
    "vgg16_bn",
)


def _trained(name: str) -> Any:
    torch.manual_seed(0)
    model = randomise(get_model(name, num_classes=5))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean, norm.running_var = (
                torch.randn(norm.num_features) * 0.1,
                torch.rand(norm.num_features) + 1,
            )
    return model.eval()


def _read(model: nn.Module, folder: Path, **more: Tensor) -> ForeignEncoder:
    torch.save({**model.state_dict(), **more}, folder / "weights.pth")
    return read_foreign(folder / "weights.pth")


@pytest.mark.parametrize(
    ("name", "nodes"), [*NODES.items(), *(pytest.param(*each, marks=pytest.mark.slow) for each in FIXED.items())]
)
def test_features_and_maps_are_torchvisions(name: str, nodes: tuple[str, str, str], tmp_path: Path) -> None:
    theirs = _trained(name)
    read = _read(theirs, tmp_path)
    assert read.inferred.architecture == Architecture(name=f"torchvision:{name}")
    side = 224 if name in FIXED else 100
    sides = (96, 64) if name.startswith("densenet") else (side, side if name in FIXED else 77)
    images = torch.randn(1, 3, *sides)
    with torch.no_grad():
        wanted = create_feature_extractor(theirs, list(nodes))(images)
    ours: Any = build_backbone(read.inferred.architecture, None).eval()
    require_complete(load_encoder(ours, read.weights, "file"), name)
    dense = build_encoder(read.inferred.architecture, side)
    require_complete(load_encoder(dense.backbone, read.weights, "file"), name)
    with torch.no_grad():
        maps = dense.eval()(images)
        torch.testing.assert_close(ours(images), wanted[nodes[2]], rtol=0, atol=0)
    torch.testing.assert_close(maps[-1], wanted[nodes[1]].relu() if "densenet" in name else wanted[nodes[1]])
    torch.testing.assert_close(maps[-2], wanted[nodes[0]])


@pytest.mark.parametrize("name", ALL)
def test_a_network_is_known_by_its_shapes(name: str) -> None:
    with torch.device("meta"):
        tensors = get_model(name).state_dict() if "regnet" not in name else {}
    tensors = tensors or {key: each.to("meta") for key, each in get_model(name).state_dict().items()}
    layout = identify(tensors)
    found = infer(layout, layout.to_timm(tensors), {}).architecture
    assert (layout.name, found.name, found.arguments) == ("torchvision-convnet", f"torchvision:{name}", {})


def test_what_is_wrong_is_named_and_other_sizes_are_refused(tmp_path: Path) -> None:
    model = _trained("mobilenet_v2")
    tensors = {key: each for key, each in model.state_dict().items() if key != "features.4.conv.1.1.weight"}
    torch.save({"state_dict": {f"module.{key}": each for key, each in tensors.items()}}, tmp_path / "lost.pth")
    lost = read_foreign(tmp_path / "lost.pth")
    report = load_encoder(build_backbone(lost.inferred.architecture, None), lost.weights, "file")
    assert report.missing == ("features.4.conv.1.1.weight",)
    other = RegNet(BlockParams([1, 1, 2, 1], [8, 16, 16, 32], [8, 8, 8, 8], [1.0] * 4, [2, 2, 2, 2]))
    with pytest.raises(UserError, match="regnet, of no published sizes"):
        _read(other, tmp_path)
    with pytest.raises(UserError, match="torchvision:mobilenet_v3_small has"):
        read_foreign(tmp_path / "lost.pth", state("torchvision:mobilenet_v3_small"))


def test_names_of_before_torch_0_4_are_read(tmp_path: Path) -> None:
    model = _trained("densenet121")
    old: dict[str, Tensor] = {}
    for key, each in model.state_dict().items():
        part = key.rsplit(".", 2)
        dotted = "denselayer" in key and f"{part[0]}.{part[1][:-1]}.{part[1][-1]}.{part[2]}"
        old |= {} if key.endswith("num_batches_tracked") else {dotted or key: each}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    read = read_foreign(tmp_path / "old.pth")
    report = load_encoder(build_backbone(read.inferred.architecture, None), read.weights, "file")
    require_complete(report, "old")


def test_a_timm_densenet_is_timms_where_a_person_says_so(tmp_path: Path) -> None:
    _read(_trained("densenet121"), tmp_path)
    read = read_foreign(tmp_path / "weights.pth", state("densenet121"))
    assert read.inferred.architecture == Architecture(name="densenet121")


def test_normalisation_is_that_of_torchvisions_own_weights(tmp_path: Path) -> None:
    read = _read(_trained("mobilenet_v3_small"), tmp_path)
    assert read.normalisation is not None
    assert read.normalisation.mean == (0.485, 0.456, 0.406)
    large = torchvisions(Architecture(name="torchvision:efficientnet_v2_l"))
    stated = torchvision.models.EfficientNet_V2_L_Weights.DEFAULT.transforms()
    assert large is not None
    assert large.mean == tuple(stated.mean) == (0.5, 0.5, 0.5)


def test_layers_and_blocks_are_the_parts_in_order() -> None:
    with torch.device("meta"):
        family = family_of(build_backbone(Architecture(name="torchvision:efficientnet_b0"), None, num_classes=3))
        vgg = family_of(build_backbone(Architecture(name="torchvision:vgg11_bn"), None))
    layers = family.layers()
    assert [layers.of(n) for n in ("features.0.0.weight", "features.1.0.block.0.0.weight")] == [0, 1]
    assert [layers.of(n) for n in ("features.8.0.weight", "classifier.1.weight")] == [
        layers.count - 2,
        layers.count - 1,
    ]
    assert {layers.of(name) for name, _ in family.model.named_parameters()} == set(range(layers.count))
    assert vgg.layers().of("features.1.weight") == vgg.layers().of("features.0.weight"), "a norm is its layer's"
    assert not vgg.can(BLOCKS)


def test_paths_are_dropped_at_the_rate_that_is_asked_for_and_nothing_else() -> None:
    model = build_backbone(Architecture(name="torchvision:efficientnet_b0"), None, drop_path_rate=0.1)
    theirs = get_model("efficientnet_b0", stochastic_depth_prob=0.1)
    rates = [[each.p for each in m.modules() if type(each).__name__ == "StochasticDepth"] for m in (model, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    assert all(each.p == 0 for each in model.modules() if isinstance(each, nn.Dropout))


def test_grey_images_and_sizes_that_maxvit_does_not_take() -> None:
    model = build_backbone(Architecture(name="torchvision:mobilenet_v2", arguments={"in_chans": 1}), None)
    assert model.eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 1280)
    with torch.device("meta"), pytest.raises(UserError, match="image_size_px=224 is the nearest"):
        build_backbone(Architecture(name="torchvision:maxvit_t"), 192)


def test_a_file_is_inspected_fine_tuned_and_written_back(
    transfer_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, runs = tmp_path / "theirs.pth", tmp_path / "runs"
    torch.save(_trained("mobilenet_v3_small").state_dict(), file)
    assert mimbench.main(["checkpoint", "inspect", str(file), "--json"]) == mimbench.DONE
    found = json.loads(capsys.readouterr().out)
    whole = {task for task, report in found["tasks"].items() if report.get("coverage_percent") == 100}
    assert found["architecture"] == "torchvision:mobilenet_v3_small"
    assert whole >= {"imagenet1k", "ade20k", "coco", "digits", "digit_motion"}  # Kinetics' own recipe inflates a Swin
    assert found["tensors"] == len(get_model("mobilenet_v3_small").state_dict()) - 2, "all but the last layer"
    command = [*transfer_command, "--encoder", str(file), "--stage", "supervised", "--runs", str(runs)]
    command += ["training.epochs=1", "training.schedule.warmup_epochs=0", "image_size_px=32"]
    assert mimbench.main(command) == mimbench.DONE
    tuned = only_run(runs)
    out = tmp_path / "out.pth"
    convert = ["checkpoint", "convert", str(tuned), "--out", str(out), "--to"]
    assert mimbench.main([*convert, "torchvision"]) == mimbench.DONE
    missing, unexpected = get_model("mobilenet_v3_small").load_state_dict(torch.load(out)["model"], strict=False)
    assert (missing, unexpected) == (["classifier.3.weight", "classifier.3.bias"], [])
    assert mimbench.main([*convert, "timm"]) == mimbench.WRONG
