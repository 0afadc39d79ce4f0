"""`mimbench checkpoint inspect` on the command line: what is known, in timm's names and the file's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mimbench
from tests.transfer.checkpoint import swin_zoo
from tests.transfer.checkpoint.encoders import SMALL, export, randomised
from transfer.commands import inspection


def test_inspect_tells_what_it_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = export(SMALL["swin"], tmp_path / "encoder")
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "encoder"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["stage"], found["epochs"]) == ("mimbench", "self-supervised", 7)
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    weight = model.get_parameter("norm.weight").detach()
    assert found["layers"]["norm"]["max_abs"] == pytest.approx(
        max(weight.abs().max().item(), model.get_parameter("norm.bias").abs().max().item())
    )
    assert found["tasks"]["digits"]["coverage_percent"] == 100
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "encoder")]) == 0
    text = capsys.readouterr().out
    assert "layers.0.blocks.0" in text
    assert "self-supervised" in text


def test_inspect_shows_what_the_file_calls_its_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = swin_zoo.of_torchvision(swin_zoo.TINY, 1)
    saved = {f"module.{name}": tensor for name, tensor in foreign.saved.items()}
    del saved["module.features.3.1.mlp.0.bias"]
    torch.save({"model": saved}, tmp_path / "theirs.pth")
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "theirs.pth")]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[lines.index("layers:") + 1 :]]
    assert rows[0][:4] == ["layer", "in", "the", "file"]
    own = {row[0]: row[1] for row in rows[1:]}
    assert own["patch_embed"] == "module.features.0"
    assert own["layers.1.blocks.1"] == "module.features.3.1"
    assert own["layers.1.downsample"] == "module.features.2"
    assert own["norm"] == "module.norm"
    missing = next(line for line in lines if line.startswith("missing: "))
    assert missing == "missing: layers.1.blocks.1.mlp.fc1.bias (in the file: module.features.3.1.mlp.0.bias)"
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "theirs.pth"), "--json"]) == 0
    names = json.loads(capsys.readouterr().out)["in_the_file"]
    assert names["layers.1.blocks.1.mlp.fc2.weight"] == ["module.features.3.1.mlp.3.weight"]
    assert {name for own in names.values() for name in own} - {"module.features.3.1.mlp.0.bias"} <= saved.keys()


def test_inspect_says_nothing_of_names_that_are_timms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(swin_zoo.of_timm(swin_zoo.TINY, 1).saved, tmp_path / "theirs.pth")
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "theirs.pth")]) == 0
    text = capsys.readouterr().out
    assert text[text.index("layers:") :].splitlines()[1].split()[:2] == ["layer", "parameters"]


def test_names_in_a_file_cannot_act_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = dict(swin_zoo.of_timm(swin_zoo.TINY, 1).saved)
    weights["layers.0.\x1b[2J"] = torch.zeros(3)
    torch.save({f"\x1b[31m.{name}": tensor for name, tensor in weights.items()}, tmp_path / "theirs.pth")
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "theirs.pth")]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert r"unexpected: layers.0.\x1b[2J (in the file: \x1b[31m.layers.0.\x1b[2J)" in text


def test_statistics_of_pieces_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_PIECE", 7)
    draw = torch.Generator().manual_seed(0)
    parts = [torch.randn(5, 8, generator=draw) * 3 - 40, torch.randn(9, generator=draw).half() + 100]
    parts[0][2, 3] = torch.inf
    values = np.concatenate([part.double().numpy().ravel() for part in parts])
    values = values[np.isfinite(values)]
    found = inspection.layer_statistics({"norm.weight": parts[0].mT, "norm.bias": parts[1], "norm.none": torch.ones(0)})
    assert found["norm"] == pytest.approx(
        {"parameters": 49, "mean": values.mean(), "std": values.std(), "max_abs": abs(values).max(), "not_finite": 1}
    )
    broken = inspection.layer_statistics({"norm.weight": torch.full((9,), torch.nan)})
    assert broken["norm"] == {"parameters": 9, "mean": 0.0, "std": 0.0, "max_abs": 0.0, "not_finite": 9}


def test_inspect_counts_values_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = randomised(SMALL["swin"]).state_dict()
    weights["norm.weight"][3] = torch.nan
    torch.save(weights, tmp_path / "nan.pth")
    assert mimbench.main(["checkpoint", "inspect", str(tmp_path / "nan.pth"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"]["norm"]["not_finite"] == 1
