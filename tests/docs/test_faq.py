"""The page of errors: every command of it is run, and answers with the lines that stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from tests.support.command import ROOT, here

TEXT = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
ASKED = [block.split("\n", 1) for block in re.findall(r"^```console\n\$ mimbench (.*?)```$", TEXT, re.M | re.S)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the page's commands are given: weights that are whole, partial, untrained and cut."""
    path = tmp_path_factory.mktemp("faq")
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (path / "images" / part / label).mkdir(parents=True)
            for number in range(100):
                Image.new("RGB", (32, 32), (2 * number, 90, 200)).save(path / "images" / part / label / f"{number}.png")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=4, num_classes=10)
    torch.save({"model": model.state_dict()}, path / "untrained.pth")
    trained = {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    torch.save({"model": trained}, path / "their_vit.pth")
    partial = {name: tensor for name, tensor in trained.items() if name != "blocks.2.attn.qkv.weight"}
    torch.save({"model": partial}, path / "partial.pth")
    (path / "cut.pth").write_bytes((path / "their_vit.pth").read_bytes()[:100_000])
    (path / "broken.yaml").write_text("name: x\ntasks:\n  a: {task: imagefolder\nencoders: {}\n")
    return path


@pytest.mark.parametrize(("command", "answer"), ASKED, ids=[command for command, _ in ASKED])
def test_an_error_is_as_the_page_shows_it(
    command: str, answer: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = here(*command.split())
    assert done.returncode == (1 if answer.startswith("failed: ") else 2)
    for line in answer.splitlines():
        assert line.removesuffix("...") in done.stderr


def test_the_page_asks_for_errors() -> None:
    assert len(ASKED) >= 6
