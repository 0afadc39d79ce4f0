"""Files that older torch, older NumPy and older Python wrote: their weights are read, their code and source never."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.transfer.checkpoint.hostile import PROTO2, STORAGE, archive, tensor
from tests.transfer.checkpoint.written import content_of, weights
from transfer.checkpoint.content.state_dict import find_weights
from transfer.checkpoint.files.checkpoint_file import read_checkpoint_file


class Small(nn.Module):
    """A model of a class of its own, whose source torch writes beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.Identity()])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_whole_models_with_their_source_in_the_older_format(protocol: int, tmp_path: Path) -> None:
    model, path = Small(), tmp_path / "weights"
    torch.save(model, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    assert b"A model of a class of its own, whose source torch writes beside it." in path.read_bytes()
    checkpoint = read_checkpoint_file(path)
    assert f"{__name__}.Small" in checkpoint.inert
    found, expected = find_weights(checkpoint.content).tensors, model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_source_beside_a_model_is_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "weights"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"model": nn.Linear(2, 1)}, path, _use_new_zipfile_serialization=False)
    code = f"open({str(marker)!r}, 'w')\n".encode()
    before = path.read_bytes()
    at = before.index(b"class Linear(Module):")
    path.write_bytes(before[:at] + code + before[at + len(code) :])
    assert find_weights(read_checkpoint_file(path).content).tensors.keys() == {"weight", "bias"}
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_the_older_format_in_newer_protocols(protocol: int, tmp_path: Path) -> None:
    expected = weights()
    torch.save(expected, tmp_path / "weights", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    content = content_of(tmp_path / "weights")
    assert content.keys() == expected.keys()
    assert all(torch.equal(content[name], expected[name]) for name in expected)  # type: ignore[arg-type]
    assert content["table"].untyped_storage().data_ptr() == content["part"].untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<i8"])
def test_arrays_as_python_2_wrote_them(dtype: str, tmp_path: Path) -> None:
    """Protocol 0, its default: bytes are quoted and escaped text."""
    array = np.linspace(-3, 200, 6).reshape(2, 3).astype(dtype)
    order, kind = dtype[0], dtype[1:]
    path = tmp_path / "weights.pkl"
    path.write_bytes(
        b"(dp0\nS'conv1_w'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\n"
        b"tp6\nRp7\n(I1\n(I2\nI3\ntp8\ncnumpy\ndtype\np9\n(S'" + kind.encode() + b"'\np10\nI0\nI1\ntp11\nRp12\n"
        b"(I3\nS'" + order.encode() + b"'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS"
        + repr(array.tobytes())[1:].encode() + b"\np15\ntp16\nbs."
    )  # fmt: skip
    with open(path, "rb") as file:
        assert pickle.load(file, encoding="latin1")["conv1_w"].tolist() == array.tolist()  # noqa: S301 (ours)
    assert content_of(path)["conv1_w"].tolist() == array.tolist()


class Settings(dict[str, object]):
    """A subclass of dict, as a configuration."""


@pytest.mark.parametrize("protocol", range(6))
def test_subclasses_of_dict_keep_their_entries(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(pickle.dumps({"a": np.ones(2), "cfg": Settings(depth=3)}, protocol))
    content = content_of(tmp_path / "weights")
    assert content["cfg"] == {"depth": 3}
    assert content["a"].tolist() == [1, 1]


@pytest.mark.parametrize("made", [b"\x85R", b"\x85\x81"])
def test_parameters_of_torch_before_0_4(made: bytes, tmp_path: Path) -> None:
    """Made of a tensor, then given (requires_grad, volatile, hooks): `torch.Tensor.__setstate__` still takes them."""
    parameter = b"ctorch.nn.parameter\nParameter\n" + tensor(1, (2,), (1,)) + made + b"\x88\x89}\x87b"
    (tmp_path / "weights").write_bytes(
        archive(PROTO2 + b"}X\x01\x00\x00\x00a" + parameter + b"s.", {"0": np.arange(4, dtype="<f4").tobytes()})
    )
    assert content_of(tmp_path / "weights")["a"].tolist() == [1, 2]


def test_views_of_storages(tmp_path: Path) -> None:
    """torch before 0.4 could keep a storage as a part of another: (key, offset, size)."""
    part = STORAGE.replace(b"K\x04tQ", b"K\x04X\x01\x00\x00\x00vK\x01K\x02\x87tQ")
    (tmp_path / "weights").write_bytes(
        archive(
            PROTO2 + b"}X\x01\x00\x00\x00a" + tensor(1, (1,), (1,)).replace(STORAGE, part) + b"s.",
            {"0": np.arange(4, dtype="<f4").tobytes()},
        )
    )
    assert content_of(tmp_path / "weights")["a"].tolist() == [2]
