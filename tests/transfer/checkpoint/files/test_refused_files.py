"""Files that are whole and yet not read: tensors of special kinds, paths, sizes, and shards that do not fit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.errors import UserError
from tests.transfer.checkpoint.written import refusal, save, shards, torch_bytes
from transfer.checkpoint.files.checkpoint_file import read_checkpoint_file


def _sparse(path: Path) -> None:
    save({"a": torch.eye(3).to_sparse()}, path)


def _quantized(path: Path) -> None:
    save({"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)


@pytest.mark.filterwarnings("ignore")  # torch announces the end of its quantized tensors
@pytest.mark.parametrize(
    ("write", "finding", "remedy"),
    [(_sparse, "it holds sparse tensors", "to_dense"), (_quantized, "it holds quantized tensors", "dequantize")],
)
def test_tensors_of_special_kinds_are_refused(
    write: Callable[[Path], None], finding: str, remedy: str, tmp_path: Path
) -> None:
    write(tmp_path / "weights")
    message = refusal(tmp_path / "weights")
    assert finding in message
    assert remedy in message


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refusal_of_path(tmp_path / "nothing.pth")
    assert "a folder without a checkpoint" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe")


def refusal_of_path(path: Path) -> str:
    with pytest.raises(UserError, match="checkpoint = ") as caught:
        read_checkpoint_file(path)
    return str(caught.value)


def test_permission_denied(tmp_path: Path) -> None:
    path = save({"a": torch.ones(2)}, tmp_path / "weights")
    path.chmod(0)
    as_root = os.geteuid() == 0  # root may read everything: become nobody for a moment
    if as_root:
        os.seteuid(65534)
    try:
        message = refusal_of_path(path)
    finally:
        if as_root:
            os.seteuid(0)
    assert "Permission denied" in message
    assert "chmod a+r" in message


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    with open(path, "wb") as file:
        file.write(torch_bytes())
        file.truncate(100 << 30)  # takes no room on disk
    assert "a file of at most 68.7 GB" in refusal(path)


def _remove(folder: Path) -> None:
    (folder / "model-2-of-2").unlink()


def _twice_stored(folder: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.zeros(3)}, folder / "model-2-of-2")


def _elsewhere(folder: Path) -> None:
    save_file({"c": torch.zeros(3)}, folder / "model-2-of-2")


def _cut(folder: Path) -> None:
    shard = folder / "model-2-of-2"
    os.truncate(shard, shard.stat().st_size - 4)


def _outside(folder: Path) -> None:
    (folder / "model.index.json").write_text(json.dumps({"weight_map": {"a": "../model-1-of-2"}}))


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (_remove, "missing shards: model-2-of-2 (1 of 2)"),
        (_twice_stored, "tensor 'a' lies in two shards, model-1-of-2 and model-2-of-2"),
        (_elsewhere, "tensor 'b' is not where it belongs: the index says model-2-of-2, it lies in none"),
        (_cut, "shard model-2-of-2: truncated"),
        (_outside, "shards are not plain file names"),
    ],
)
def test_brokenshards(damage: Callable[[Path], None], finding: str, tmp_path: Path) -> None:
    index = shards(tmp_path)
    damage(tmp_path)
    assert finding in refusal(index)
