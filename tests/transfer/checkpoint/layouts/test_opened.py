"""An encoder named by a hub is inspected as one in a file is."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

import mimbench
from transfer.sources import hub
from transfer.sources.opened import open_encoder


def test_a_timm_name_is_opened_with_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "vit_tiny_patch16_224.augreg_in21k"
    torch.manual_seed(0)
    state = timm.create_model(name.split(".")[0], num_classes=0).state_dict()
    monkeypatch.setattr(hub, "_pretrained", lambda _: state)  # only the download is left out
    encoder = open_encoder(f"timm:{name}")
    assert (encoder.architecture.name, encoder.family, encoder.image_size_px) == ("vit_tiny_patch16_224", "vit", 224)
    assert encoder.weights.keys() == state.keys()


@pytest.mark.parametrize("reference", ["hf-hub:../x", "hf-hub:", "hf-hub:a/b/c", "timm:no_such_model"])
def test_a_name_that_no_hub_can_have_is_a_wrong_request(
    reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main(["checkpoint", "inspect", reference]) == mimbench.WRONG
    message = capsys.readouterr().err
    assert "rule:" in message
    assert "online" not in message
    out = str(tmp_path / "x")
    assert mimbench.main(["checkpoint", "convert", reference, "--to", "timm", "--out", out]) == mimbench.WRONG
