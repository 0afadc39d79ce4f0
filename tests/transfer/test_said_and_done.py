"""What `checkpoint inspect` says of every encoder and kind of task is what the start of such a transfer does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mimbench
import transfer.run
from benchmarks.catalogue.tasks import find_task
from benchmarks.runs.record import LoadReport
from tests.transfer.kinds import KINDS, Kind
from tests.transfer.matrix.encoders import ENCODERS
from transfer.commands.inspection import would_load
from transfer.encoder.proof.loading import implausible_in
from transfer.sources.opened import open_encoder

AT_ONCE = ("timm, convnext_atto", "timm, crossvit_tiny_240", "timm, pit_ti_224", "Swin of torchvision")
LATER = (
    *("timm, beit_base_patch16_224", "timm, densenet121", "timm, eva02_tiny_patch14_224", "timm, hiera_tiny_224"),
    *("timm, levit_128s", "timm, maxvit_pico_rw_256", "timm, naflexvit_base_patch16_gap", "timm, resnet10t"),
    *(
        "timm, swinv2_cr_tiny_224",
        "timm, swinv2_tiny_window8_256",
        "timm, test_vit_relpos",
        "timm, xcit_nano_12_p16_224",
    ),
    *("SigLIP", "SAM", "Hiera", "data2vec", "DINOv3", "ConvNeXtV2 of transformers", "ResNet in nn.Sequential"),
    "torchvision, efficientnet_b0",
)
NAMES = [*AT_ONCE, *(pytest.param(name, marks=pytest.mark.long) for name in LATER)]


class Begun(Exception):
    """A transfer has come to its first step."""

    def __init__(self, report: LoadReport) -> None:
        self.report = report


@pytest.fixture
def stopped_at_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(
        _training: Any, _samples: int, problem: Callable[[], Any], opened: Callable[[Any], AbstractContextManager[Any]]
    ) -> None:
        made = problem()
        made.check()
        with opened(made):
            raise Begun(made.load_report)

    monkeypatch.setattr(transfer.run, "train", begin)


def require_agreement(
    encoder: Path, kind: Kind, whole: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """Compare the two for one encoder and kind; return what inspect says."""
    opened = open_encoder(encoder)
    said, odd = would_load(opened, find_task(kind.task)), implausible_in(opened.weights)
    command = ["transfer", kind.task, f"data.root={whole}", "--encoder", str(encoder), "--stage", "supervised"]
    capsys.readouterr()
    try:
        code = mimbench.main([*command, "--runs", str(runs)])
    except Begun as begun:
        done = begun.report.model_dump(mode="json")
        assert not odd
        assert {key: done[key] for key in ("loaded", "expected", "resized", "missing", "unexpected", "mismatched")} == {
            key: said[key] for key in ("loaded", "expected", "resized", "missing", "unexpected", "mismatched")
        }
        return said
    words = " ".join(capsys.readouterr().err.split())
    if "error" in said:
        assert (code, words.partition("error: ")[2]) == (mimbench.WRONG, said["error"])
    else:
        assert code == mimbench.FAILED
        faults = [*said["missing"], *said["mismatched"], *said["unexpected"]] or odd
        assert faults
        assert all(fault in words for fault in faults[:8])
    return said


@pytest.mark.usefixtures("stopped_at_the_first_step")
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_transfer_begins_where_inspect_says_so(
    name: str, kind: Kind, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    kind.require()
    torch.manual_seed(0)
    (tmp_path / "encoder").mkdir()
    folder = ENCODERS[name](tmp_path / "encoder").folder
    require_agreement(folder, kind, request.getfixturevalue(kind.whole), tmp_path / "runs", capsys)


@pytest.mark.usefixtures("stopped_at_the_first_step")
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("fault", ["a tensor is missing", "all numbers are zero", "a square is of another shape"])
def test_damaged_files(
    fault: str, kind: Kind, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    kind.require()
    torch.manual_seed(0)
    folder = ENCODERS["timm, convnext_atto"](tmp_path).folder
    weights = load_file(folder / "model.safetensors")
    if fault == "a tensor is missing":
        del weights["stages.2.blocks.1.mlp.fc1.bias"]
    elif fault == "all numbers are zero":
        weights = {name: torch.zeros_like(each) for name, each in weights.items()}
    else:
        weights["stages.2.blocks.1.mlp.fc1.weight"] = torch.randn(7, 24)
    save_file(weights, folder / "model.safetensors")
    whole = request.getfixturevalue(kind.whole)
    said = require_agreement(folder, kind, whole, tmp_path / "runs", capsys)
    assert (fault == "all numbers are zero") == (said.get("coverage_percent") == 100)
