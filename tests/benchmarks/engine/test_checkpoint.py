"""Checkpoints where something else stands in their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from benchmarks.engine.checkpoint import Checkpoints, captured
from benchmarks.errors import UserError


def save(folder: Path, step: int) -> Path:
    model = torch.nn.Linear(2, 2)
    return Checkpoints(folder).save(captured(model, torch.optim.AdamW(model.parameters())), step, {})


def test_file_in_the_place_of_the_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("")
    assert Checkpoints(tmp_path / "checkpoints").latest() is None
    with pytest.raises(UserError, match="checkpoints is not a folder"):
        save(tmp_path / "checkpoints", 1)


def test_file_in_the_place_of_a_checkpoint_is_passed_over_and_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = save(tmp_path, 1)
    (tmp_path / "step_000000002").write_text("")
    found = Checkpoints(tmp_path).latest()
    assert found is not None
    assert found.path == good
    assert "step_000000002 is damaged" in capsys.readouterr().err
    assert save(tmp_path, 2).is_dir()


def test_state_that_is_not_an_object_is_passed_over(tmp_path: Path) -> None:
    (save(tmp_path, 1) / "state.json").write_text("[]")
    assert Checkpoints(tmp_path).latest() is None


def test_a_checkpoint_is_not_written_through_a_link_that_somebody_put_beside_it(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "state.safetensors").write_bytes(b"somebody's")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / f".step_000000001.{os.getpid()}.tmp").symlink_to(theirs)
    assert not save(folder, 1).is_symlink()
    assert [path.read_bytes() for path in theirs.iterdir()] == [b"somebody's"]
