"""Real files of every kind are read as the libraries that wrote them read them."""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import pathlib
import pickle
import random
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.transfer.checkpoint.written import content_of, refusal, same, save, shards, weights
from transfer.checkpoint.files.checkpoint_file import read_checkpoint_file
from transfer.checkpoint.pickles.pickle_names import Name
from transfer.checkpoint.pickles.stand_ins import Inert

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


# Sound files


@FORMATS
def test_tensors_equal_those_of_torch_load(zipped: bool, tmp_path: Path) -> None:
    path = save(weights(), tmp_path / "weights", zipped)
    checkpoint = read_checkpoint_file(path)
    expected = torch.load(path, weights_only=True)
    content = content_of(path)
    assert content.keys() == expected.keys()
    for name, tensor in expected.items():
        assert same(content[name], tensor), name
        assert content[name].stride() == tensor.stride(), name
        assert type(content[name]) is torch.Tensor, name
        assert not content[name].requires_grad
    assert content["table"].untyped_storage().data_ptr() == content["part"].untyped_storage().data_ptr()
    assert checkpoint.container == ("torch zip" if zipped else "torch legacy")
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.inert == ()


@FORMATS
def test_a_view_alone_brings_its_storage(zipped: bool, tmp_path: Path) -> None:
    table = torch.arange(20.0)
    path = save({"part": table[5:9]}, tmp_path / "weights", zipped)
    assert content_of(path)["part"].tolist() == [5, 6, 7, 8]


def test_changing_a_tensor_does_not_change_the_file(tmp_path: Path) -> None:
    path = save({"a": torch.ones(1000)}, tmp_path / "weights")
    before = path.read_bytes()
    content_of(path)["a"].zero_()
    assert path.read_bytes() == before


def test_the_name_of_the_file_does_not_matter(tmp_path: Path) -> None:
    for name in ("weights.safetensors", "weights.txt", "weights"):
        assert read_checkpoint_file(save({"a": torch.ones(2)}, tmp_path / name)).container == "torch zip"
    save_file({"a": torch.ones(2)}, tmp_path / "weights.pth")
    assert read_checkpoint_file(tmp_path / "weights.pth").container == "safetensors"


def test_any_top_folder_of_an_archive(tmp_path: Path) -> None:
    """torch names it after the file it was saved to."""
    path = tmp_path / "weights"
    save({"a": torch.ones(3)}, tmp_path / "simmim_pretrain__swin_base.pth").rename(path)
    assert zipfile.ZipFile(path).namelist()[0] == "simmim_pretrain__swin_base/data.pkl"
    assert content_of(path)["a"].tolist() == [1, 1, 1]


def test_big_endian_archives_are_turned(tmp_path: Path) -> None:
    expected = {"f": torch.randn(5), "c": torch.randn(3, dtype=torch.complex64), "b": torch.tensor([True, False])}
    source = zipfile.ZipFile(save(expected, tmp_path / "little"))
    with zipfile.ZipFile(tmp_path / "big", "w") as target:
        for name, key in (("0", "f"), ("1", "c"), ("2", "b")):
            target.writestr(f"little/data/{name}", expected[key].numpy().byteswap().tobytes())
        target.writestr("little/data.pkl", source.read("little/data.pkl"))
        target.writestr("little/byteorder", "big")
        target.writestr("little/version", "3\n")
    content = content_of(tmp_path / "big")
    stored = np.frombuffer(zipfile.ZipFile(tmp_path / "big").read("little/data/0"), ">f4")
    assert all(same(content[key], tensor) for key, tensor in expected.items())
    assert stored.tolist() == content["f"].tolist()


def test_checksums_may_be_left_out_as_torch_allows(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save({"a": torch.ones(3)}, tmp_path / "weights")
    finally:
        torch.serialization.set_crc32_options(True)
    assert content_of(path)["a"].tolist() == [1, 1, 1]


@contextlib.contextmanager
def _module_for_writing(name: str) -> Iterator[types.ModuleType]:
    """A module that can be imported while the file is written, and no longer when it is read."""
    package = name.split(".")[0]
    modules = {package: types.ModuleType(package), name: types.ModuleType(name)}
    sys.modules.update(modules)
    try:
        yield modules[name]
    finally:
        for imported in modules:
            del sys.modules[imported]


@FORMATS
def test_files_of_simmim_and_mae_are_read_without_their_classes(zipped: bool, tmp_path: Path) -> None:
    with _module_for_writing("yacs.config") as module:
        node = type("CfgNode", (dict,), {"__module__": "yacs.config", "__qualname__": "CfgNode"})
        module.CfgNode = node  # type: ignore[attr-defined]
        config = node(MODEL=node(TYPE="swin", SWIN=node(DEPTHS=[2, 2, 18, 2])), TRAIN=node(EPOCHS=100))
        config.__dict__["__immutable__"] = True
        content = {
            "model": collections.OrderedDict(a=torch.ones(2)),
            "config": config,
            "args": argparse.Namespace(epochs=800, output=pathlib.PurePosixPath("/out/mae")),
            "epoch": 99,
            "max_accuracy": np.float64(0.5),
        }
        path = save(content, tmp_path / "weights", zipped)
    with pytest.raises(Exception, match=r"Unsupported (global|class)"):
        torch.load(path, weights_only=True)
    checkpoint = read_checkpoint_file(path)
    assert checkpoint.inert == ("argparse.Namespace", "pathlib.PurePosixPath", "yacs.config.CfgNode")
    read = content_of(path)
    assert read["epoch"] == 99
    assert read["max_accuracy"] == 0.5
    assert read["model"]["a"].tolist() == [1, 1]
    assert read["config"]["MODEL"]["SWIN"] == {"DEPTHS": [2, 2, 18, 2]}
    assert read["args"].state["epochs"] == 800


def test_a_training_checkpoint_with_optimizer_and_random_state(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
        "device": torch.device("cuda:1"),
        "size": torch.Size([1, 2]),
        "dtype": torch.bfloat16,
    }
    content = content_of(save(state, tmp_path / "weights"))
    assert torch.equal(content["model"]["weight"], model.weight)
    assert torch.equal(content["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert content["rng"][0] == random.getstate()
    assert content["rng"][1][1].tolist() == np.random.get_state()[1].tolist()
    assert (content["device"], content["size"], content["dtype"]) == ("cuda:1", (1, 2), torch.bfloat16)


def test_methods_kept_in_a_file_stay_names(tmp_path: Path) -> None:
    """torch.save's protocol 2 writes a method, or a class within a class, as getattr(class, name)."""
    with _module_for_writing("history.buffers") as module:
        scope: dict[str, type] = {}
        exec("class Buffer:\n    def mean(self): ...", {"__name__": "history.buffers"}, scope)
        module.Buffer = scope["Buffer"]  # type: ignore[attr-defined]
        buffer = module.Buffer()
        buffer.statistics = {"mean": module.Buffer.mean}
        path = save({"state_dict": {"a": torch.ones(1)}, "message_hub": buffer}, tmp_path / "weights")
    assert b"getattr" in zipfile.ZipFile(path).read("weights/data.pkl")
    hub = content_of(path)["message_hub"]
    assert isinstance(hub, Inert)
    assert hub.state == {"statistics": {"mean": Name("history.buffers", "Buffer.mean")}}


def test_a_bare_pickle_of_arrays_as_detectron2_publishes(tmp_path: Path) -> None:
    array = np.arange(6, dtype="f4").reshape(2, 3)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": array}, "__author__": "third party"}))
    checkpoint = read_checkpoint_file(path)
    assert checkpoint.container == "pickle"
    assert torch.equal(content_of(path)["model"]["a"], torch.from_numpy(array))


def test_safetensors_equal_those_of_their_library(tmp_path: Path) -> None:
    expected = {
        name: tensor.detach().resolve_conj().contiguous().clone()
        for name, tensor in weights().items()
        if isinstance(tensor, torch.Tensor) and tensor.dtype is not torch.complex128
    }
    path = tmp_path / "weights"
    save_file(expected, path, metadata={"format": "pt"})
    content = content_of(path)
    assert content.pop("__metadata__") == {"format": "pt"}
    assert content.keys() == expected.keys()
    assert all(same(content[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("as_folder", [True, False])
def test_shards_are_one_checkpoint(safe: bool, as_folder: bool, tmp_path: Path) -> None:
    index = shards(tmp_path, safe)
    (tmp_path / "config.json").write_text('{"model_type": "swin"}')
    checkpoint = read_checkpoint_file(tmp_path if as_folder else index)
    assert checkpoint.path == index
    assert checkpoint.container == ("sharded safetensors" if safe else "sharded torch")
    files = [index, tmp_path / "model-1-of-2", tmp_path / "model-2-of-2"]
    assert checkpoint.sha256 == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    content = content_of(index)
    assert (content["a"].tolist(), content["b"].tolist()) == ([1, 1], [0, 0, 0])


def test_a_folder_of_one_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A model\n")
    (tmp_path / "config.json").write_text("{}")
    path = save({"a": torch.ones(2)}, tmp_path / "weights")
    assert read_checkpoint_file(tmp_path).path == path
    save({"a": torch.ones(2)}, tmp_path / "more")
    assert "a folder with 2 checkpoints: more, weights" in refusal(tmp_path)
    trainers = save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    assert read_checkpoint_file(tmp_path).path == trainers, "as Hugging Face's Trainer leaves it beside others"
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert read_checkpoint_file(tmp_path).path == tmp_path / "model.safetensors"
