"""A conversion never ends in a traceback for its destination, and never destroys what it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mimbench
from benchmarks.encoders import find_architecture
from benchmarks.engine.backbone import build_backbone


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return build_backbone(find_architecture("digits_swin"), 64).state_dict()


def convert(source: Path, out: str) -> int:
    return mimbench.main(["checkpoint", "convert", str(source), "--to", "timm", "--out", out])


def wrong(capsys: pytest.CaptureFixture[str]) -> str:
    message = capsys.readouterr().err
    first, second, third = message.splitlines()
    assert (first[:14], second[:10], third[:10]) == ("error: --out =", "  rule:   ", "  remedy: ")
    return message


@pytest.mark.parametrize("out", ["", ".", "{}/folder", "{}/file/x.pth", "/proc/nowhere/x.pth", "/dev/null"])
def test_what_cannot_be_written_is_refused_before_anything_is_read(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    assert convert(tmp_path / "no such checkpoint", out.format(tmp_path)) == mimbench.WRONG
    wrong(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_what_the_system_refuses_at_the_end_is_no_traceback(
    tmp_path: Path, weights: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(weights, tmp_path / "a")
    assert convert(tmp_path / "a", str(tmp_path / ("n" * 250))) == mimbench.WRONG
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "rule:" in said
    assert "remedy:" in said


@pytest.mark.parametrize("out", ["model.safetensors", "link", "hard", "config"])
def test_the_file_that_is_read_is_spared(
    out: str, tmp_path: Path, weights: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "model.safetensors"
    save_file(weights, source)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "hard").hardlink_to(source)
    before = source.read_bytes()
    assert convert(source, str(tmp_path / out)) == mimbench.WRONG
    assert "another file than the checkpoint that is read" in wrong(capsys)
    assert source.read_bytes() == before
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize("out", ["1", "all", "new"])
@pytest.mark.parametrize("as_folder", [True, False])
def test_shards_are_spared(
    out: str, as_folder: bool, tmp_path: Path, weights: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    save_file(weights, folder / "1")
    (folder / "all.json").write_text(json.dumps({"weight_map": dict.fromkeys(weights, "1")}))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = convert(folder if as_folder else folder / "all.json", str(folder / out))
    if out == "new" and not as_folder:
        assert code == 0
        return
    assert code == mimbench.WRONG
    assert "another file than the checkpoint that is read" in wrong(capsys)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
