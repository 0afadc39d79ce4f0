"""Exported encoders, with real torch tensors; sha256 and safetensors' own reader are the witnesses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from torch import Tensor

from benchmarks.encoders import (
    EncoderManifest,
    find_architecture,
    read_encoder,
    read_manifest,
    unknown_architecture,
    write_encoder,
)
from benchmarks.errors import UserError
from tests.benchmarks.examples import MANIFEST


@pytest.fixture
def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "patch_embed.proj.weight": torch.randn(32, 3, 4, 4, generator=generator),
        "layers.0.transposed": torch.randn(4, 6, generator=generator).T,
        "norm.weight": torch.ones(8, dtype=torch.bfloat16),
        "index": torch.arange(49),
        "trained": torch.zeros(2, requires_grad=True),
    }


def test_weights_and_manifest_come_back_as_they_were(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    written = write_encoder(tmp_path / "encoder", weights, **MANIFEST)
    manifest, read = read_encoder(tmp_path / "encoder")
    assert manifest == written
    assert read.keys() == weights.keys()
    for name, tensor in weights.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_export_is_plain_safetensors_with_its_sha256_beside_it(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    write_encoder(tmp_path, weights, **MANIFEST)
    fields = json.loads((tmp_path / "manifest.json").read_text())
    data = (tmp_path / "encoder.safetensors").read_bytes()
    assert fields["sha256"] == hashlib.sha256(data).hexdigest()
    assert fields["architecture"]["arguments"] == {"img_size": 64, "depths": [2, 2, 2, 2]}
    with safe_open(tmp_path / "encoder.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == sorted(weights)


def test_same_weights_give_the_same_bytes_in_any_order(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    first = write_encoder(tmp_path / "a", weights, **MANIFEST)
    second = write_encoder(tmp_path / "b", dict(reversed(weights.items())), **MANIFEST)
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("damage", ["flipped bit", "cut off"])
def test_changed_weights_are_refused_by_name(tmp_path: Path, weights: dict[str, Tensor], damage: str) -> None:
    write_encoder(tmp_path, weights, **MANIFEST)
    path = tmp_path / "encoder.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data if damage == "flipped bit" else data[:-100])
    with pytest.raises(UserError) as caught:
        read_encoder(tmp_path)
    field, rule, remedy = str(caught.value).splitlines()
    assert field.startswith(f"sha256 of {path} = ")
    assert rule.startswith("  rule:   the sha256 of its manifest (")
    assert "export it again" in remedy


def test_missing_weights_are_refused_by_name(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    write_encoder(tmp_path, weights, **MANIFEST)
    (tmp_path / "encoder.safetensors").unlink()
    with pytest.raises(UserError, match=r"encoder = .*encoder\.safetensors\n  rule:   a file that exists"):
        read_encoder(tmp_path)


def test_folder_without_manifest_is_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder with manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ('"schema_version": 1', '"schema_version": 2'),
        ('"schema_version": 1', '"schema_version": '),
        ('"image_size_px": 64', '"image_size": 64'),
        ('"epochs": 100', '"epochs": "100"'),
    ],
)
def test_damaged_or_newer_manifest_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], field: str, changed: str
) -> None:
    write_encoder(tmp_path, weights, **MANIFEST)
    path = tmp_path / "manifest.json"
    text = path.read_text()
    assert text.count(field) == 1
    path.write_text(text.replace(field, changed))
    with pytest.raises(UserError, match=r"manifest\.json = \(damaged\)\n  rule:   an encoder manifest"):
        read_manifest(tmp_path)


def test_manifest_names_the_four_stages() -> None:
    with pytest.raises(ValidationError, match="'random', 'self-supervised', 'supervised' or 'fine-tuned'"):
        EncoderManifest(sha256="0" * 64, **(MANIFEST | {"init_stage": "pretrained"}))


def test_named_architecture_is_ours_and_any_other_is_timms() -> None:
    ours = find_architecture("swin_base_window6")
    assert ours.name == "swin_base_patch4_window7_224"
    assert ours.arguments == {"window_size": 6}
    assert find_architecture("vit_base_patch16_224").arguments == {}


@pytest.mark.parametrize(("arguments", "channels"), [({}, 3), ({"in_chans": 1}, 1)])
def test_channels_are_three_unless_given(arguments: dict[str, int], channels: int) -> None:
    assert find_architecture("resnet18").model_copy(update={"arguments": arguments}).in_chans == channels


@pytest.mark.parametrize(
    ("name", "guess"), [("digit_swin", "digits_swin"), ("vit_base_patch16_242", "vit_base_patch16_224")]
)
def test_unknown_architecture_gets_the_nearest_name(name: str, guess: str) -> None:
    message = str(unknown_architecture(name, ["vit_base_patch16_224", "resnet18"]))
    assert f"remedy: Did you mean {guess}?" in message


def test_things_of_another_kind_in_the_place_of_an_export(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"a folder with manifest\.json"):
        read_manifest(tmp_path / "file")
    with pytest.raises(UserError, match="file is not a folder"):
        write_encoder(tmp_path / "file", {"x": torch.zeros(1)}, **MANIFEST)
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(UserError, match=r"manifest\.json = a folder where an ordinary file belongs"):
        read_manifest(tmp_path)
