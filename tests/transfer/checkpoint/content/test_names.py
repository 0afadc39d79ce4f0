"""Messages about a damaged file name its tensors as its owner sees them in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks.errors import UserError, WorkFailed
from tests.transfer.checkpoint import swin_zoo
from transfer.checkpoint.foreign import read_foreign
from transfer.commands.convert import convert
from transfer.encoder.proof.loading import load_encoder, percent, require_complete
from transfer.sources.opened import open_encoder


def complaint(weights: dict[str, torch.Tensor], folder: Path) -> str:
    torch.save({"state_dict": weights}, folder / "file.pth")
    encoder = read_foreign(folder / "file.pth")
    report = load_encoder(swin_zoo.timm_model(swin_zoo.TINY, 1), encoder.weights, encoder.layout.name)
    with pytest.raises(WorkFailed) as caught:
        require_complete(report, "x", encoder.names)
    return str(caught.value)


def test_of_a_tensor_in_three_parts_the_one_that_is_missing_is_named(tmp_path: Path) -> None:
    saved = dict(swin_zoo.of_huggingface(swin_zoo.TINY, 1, tmp_path).saved)
    name = "encoder.layers.0.blocks.0.attention.self.key.weight"
    del saved[name]
    missing = next(line for line in complaint(saved, tmp_path).splitlines() if "missing" in line)
    assert missing.endswith(f"layers.0.blocks.0.attn.qkv.weight (in the file: {name})")


def test_of_a_tensor_in_three_parts_the_odd_one_is_named(tmp_path: Path) -> None:
    saved = dict(swin_zoo.of_huggingface(swin_zoo.TINY, 1, tmp_path).saved)
    name = "encoder.layers.0.blocks.0.attention.self.key.weight"
    saved[name] = saved[name][:20]
    shape = next(line for line in complaint(saved, tmp_path).splitlines() if "shape" in line)
    assert shape.endswith(f"found [68, 24], expected [72, 24] (in the file: {name})")


@pytest.mark.parametrize("wrapper", ["", "module.", "backbone.", "encoder.", "model.", "module.backbone.encoder."])
def test_what_wraps_a_name_belongs_to_it(wrapper: str, tmp_path: Path) -> None:
    saved = {wrapper + name: tensor for name, tensor in swin_zoo.of_torchvision(swin_zoo.TINY, 1).saved.items()}
    lost = saved.pop(wrapper + "features.3.1.norm2.bias")
    assert f"layers.1.blocks.1.norm2.bias (in the file: {wrapper}features.3.1.norm2.bias)" in complaint(saved, tmp_path)
    saved[wrapper + "features.3.1.norm2.bias"] = lost[:5]
    assert f"expected [48] (in the file: {wrapper}features.3.1.norm2.bias)" in complaint(saved, tmp_path)


def test_a_name_that_is_timms_is_given_once(tmp_path: Path) -> None:
    saved = dict(swin_zoo.of_timm(swin_zoo.TINY, 1).saved)
    del saved["norm.bias"]
    message = complaint(saved, tmp_path)
    assert "missing from the checkpoint: norm.bias\n" in message
    assert "in the file" not in message


def test_a_stage_without_its_blocks_is_named_as_the_layout_writes_it(tmp_path: Path) -> None:
    """No other tensor is left whose names could be followed."""
    saved = dict(swin_zoo.of_torchvision(swin_zoo.TINY, 1).saved)
    message = complaint({k: v for k, v in saved.items() if not k.startswith("features.3.1.")}, tmp_path)
    own = re.findall(r"in the file: ([^)]+)", message)
    assert own
    assert set(own) <= saved.keys()


def test_only_what_is_whole_reads_a_hundred() -> None:
    assert (percent(100.0), percent(99.999)) == ("100.0 %", "99.9 %")


def test_convert_names_a_misshapen_table_as_in_the_file(tmp_path: Path) -> None:
    to_mmseg = swin_zoo.LAYOUTS["mmseg-swin"].from_timm
    assert to_mmseg is not None
    weights = to_mmseg(dict(swin_zoo.of_timm(swin_zoo.TINY, 1).saved))
    name = "stages.1.blocks.1.attn.w_msa.relative_position_bias_table"
    weights[name] = torch.zeros(26, 6)
    torch.save({f"backbone.{key}": tensor for key, tensor in weights.items()}, tmp_path / "file.pth")
    with pytest.raises(UserError, match=rf"in the file: backbone\.{re.escape(name)}"):
        convert(open_encoder(tmp_path / "file.pth"), "timm", tmp_path / "out.pth")
