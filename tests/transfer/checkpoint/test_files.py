"""Real files of every kind are read as their own libraries read them; broken ones say what they are and what helps."""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import io
import json
import os
import pathlib
import random
import struct
import sys
import tarfile
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.errors import UserError
from tests.transfer.checkpoint.hostile import archive, legacy
from transfer.checkpoint.files import CheckpointFile, Limits, read_checkpoint_file
from transfer.checkpoint.pickle_names import Inert
from transfer.checkpoint.rebuild import with_swapped_bytes

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def weights() -> dict[str, object]:
    """Every element type, a shared storage, a view, an expansion, a parameter, an empty and a scalar tensor."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(4, 6, generator=generator)
    result: dict[str, object] = {
        "table": table,
        "transposed": table.t(),
        "part": table[1:3, 2:5],
        "expanded": torch.ones(1).expand(5),
        "parameter": torch.nn.Parameter(torch.randn(3, generator=generator)),
        "empty": torch.empty(0, 7),
        "scalar": torch.tensor(3.5),
        "conjugate": torch.randn(3, dtype=torch.complex64, generator=generator).conj(),
        "negative": torch.randn(3, dtype=torch.complex64, generator=generator).conj().imag,
    }
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.complex128, torch.bool, torch.uint8, torch.int8):
        result[str(dtype)] = (torch.arange(5) % 2).to(dtype)
    return result | {str(dtype): torch.arange(-2, 3, dtype=dtype) for dtype in (torch.int16, torch.int32, torch.int64)}


def save(content: object, path: Path, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def content_of(path: Path) -> dict[str, torch.Tensor]:
    content = read_checkpoint_file(path).content
    assert isinstance(content, dict)
    return content


def refusal(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_checkpoint_file(path, limits or Limits())
    message = str(caught.value)
    assert message.startswith(f"checkpoint = {path}: ")
    assert message.splitlines()[1].startswith("  rule:   ")
    assert message.splitlines()[2].startswith("  remedy: ")
    return message


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.dtype is second.dtype and torch.equal(first, second)
    return first == second


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
            swapped = with_swapped_bytes(expected[key])
            target.writestr(f"little/data/{name}", bytes(swapped.view(torch.uint8).numpy()))
        target.writestr("little/data.pkl", source.read("little/data.pkl"))
        target.writestr("little/byteorder", "big")
    content = content_of(tmp_path / "big")
    assert all(same(content[key], tensor) for key, tensor in expected.items())
    assert (
        np.frombuffer(zipfile.ZipFile(tmp_path / "big").read("little/data/0"), ">f4").tolist() == content["f"].tolist()
    )


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
    assert isinstance(read["config"], Inert)
    assert read["config"].entries["MODEL"].entries["SWIN"].entries == {"DEPTHS": [2, 2, 18, 2]}
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


def test_a_bare_pickle_of_arrays_as_detectron2_publishes(tmp_path: Path) -> None:
    import pickle

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


def _shards(folder: Path, safe: bool = True) -> Path:
    parts = {"model-1-of-2": {"a": torch.ones(2)}, "model-2-of-2": {"b": torch.zeros(3)}}
    for name, part in parts.items():
        save_file(part, folder / name) if safe else save(part, folder / name)
    index = folder / "model.index.json"
    shard_of = {"a": "model-1-of-2", "b": "model-2-of-2"}
    index.write_text(json.dumps({"metadata": {"total_size": 20}, "weight_map": shard_of}))
    return index


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("as_folder", [True, False])
def test_shards_are_one_checkpoint(safe: bool, as_folder: bool, tmp_path: Path) -> None:
    index = _shards(tmp_path, safe)
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
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert read_checkpoint_file(tmp_path).path == tmp_path / "model.safetensors"


# Broken files


def _header(entries: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def _entry(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def _torch_bytes(zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(50.0)}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _safetensors_bytes() -> bytes:
    return _header({"a": _entry(0, 8, [2]), "b": _entry(8, 16, [2])}, bytes(16))


def _encrypted() -> bytes:
    data = bytearray(_zip({"archive/data.pkl": b"\x80\x02}."}))
    data[6] |= 1  # the flag in the local header, and in the table of contents
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def _torchscript() -> bytes:
    return _zip({"m/data.pkl": b"", "m/code/__torch__.py": b"class Model: ...", "m/constants.pkl": b""})


def _tar(member: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo(member), io.BytesIO())
    return buffer.getvalue()


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.zeros(1000))
    return buffer.getvalue()


def _overlapping() -> bytes:
    """Two entries of the table of contents on the same bytes, as overlapping zip bombs have."""
    data = archive(b"\x80\x02}.", {"0": bytes(16), "1": bytes(16)})
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\x01\x02"]
    offset_of_first = data[entries[2] + 42 : entries[2] + 46]
    return data[: entries[3] + 42] + offset_of_first + data[entries[3] + 46 :]


def _broken() -> dict[str, tuple[bytes, str, str]]:
    """Return name -> (bytes, words of the finding, words of the remedy)."""
    zipped, older, safe = _torch_bytes(), _torch_bytes(zipped=False), _safetensors_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    again = "fetch or copy it again"
    bomb = _zip({"archive/data.pkl": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    return {
        "truncated zip": (zipped[: len(zipped) // 2], "truncated: it ends before the table of contents", again),
        "truncated legacy, data": (older[:-60], "truncated: it ends within storage", again),
        "truncated legacy, pickle": (older[:150], "truncated: it ends in the middle of its pickle", again),
        "truncated safetensors, data": (safe[:-4], "truncated: it ends before tensor 'b'", again),
        "truncated safetensors, header": (safe[:40], "truncated: it ends within its safetensors header", again),
        "zip bomb": (bomb, "a zip bomb: 'archive/data.pkl' would grow", "zip -0"),
        "overlapping zip": (_overlapping(), "overlaps another, as zip bombs do", again),
        "compressed zip": (
            _zip({"archive/data.pkl": random.Random(0).randbytes(99)[:50] * 4}, zipfile.ZIP_DEFLATED),
            "a compressed zip archive",
            "zip -0",
        ),
        "flipped byte in a tensor": (
            zipped.replace(struct.pack("<f", 49.0), struct.pack("<f", 48.0)),
            "does not match its checksum",
            again,
        ),
        "encrypted zip": (_encrypted(), "an encrypted zip archive", "password"),
        "other zip": (_zip({"readme.txt": b"hello"}), "not torch's (it holds readme.txt)", "unpack it"),
        "TorchScript": (_torchscript(), "a TorchScript archive", "torch.jit.load(FILE).state_dict()"),
        "torch tar": (_tar("storages"), "a tar archive of torch before 0.1.10", "torch.load(FILE, weights_only=False)"),
        "other tar": (_tar("weights.pth"), "a tar archive", "unpack it"),
        "gzip": (b"\x1f\x8b\x08\x00" + bytes(9), "a gzip archive", "unpack it"),
        "text": (b"Dear reviewer,\nthe weights are on our site.\n", "a text file", "give the weights file"),
        "git-LFS pointer": (pointer, "a git-LFS pointer", "run `git lfs pull`"),
        "HTML page": (b"<!DOCTYPE html>\n<html><body>404</body>", "an HTML page", "the download failed"),
        "empty": (b"", "an empty file", "fetch it again"),
        "JSON": (b'{"model_type": "swin"}', "a JSON file without a weight_map", "give the weights file"),
        "YAML": (b"# recipe\nmodel: swin\ndepths: [2, 2]\n", "a YAML file", "give the weights file"),
        "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\xff", "an ONNX model", "PyTorch model"),
        "TensorFlow": (b"\x08\x01\x12\xff\x10serve", "a TensorFlow SavedModel", "safetensors"),
        "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3\xff", "a TensorFlow Lite model", "safetensors"),
        "Keras HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(9), "an HDF5 file, as Keras writes", "safetensors"),
        "npz": (_npz(), "a NumPy archive (.npz)", "numpy.load"),
        "npy": (b"\x93NUMPY\x01\x00v\x00", "a single NumPy array", "safetensors"),
        "unknown bytes": (b"\xde\xad\xbe\xef" * 8, "an unknown kind (it begins with the bytes de ad be ef", "path"),
        "safetensors that overlap": (
            _header({"a": _entry(0, 8, [2]), "b": _entry(4, 12, [2])}, bytes(12)),
            "'b' and its neighbour overlap at byte 8",
            again,
        ),
        "safetensors with a hole": (
            _header({"a": _entry(0, 8, [2]), "b": _entry(12, 20, [2])}, bytes(20)),
            "'b' and its neighbour leave a hole",
            again,
        ),
        "safetensors out of range": (_header({"a": _entry(0, 4000, [1000])}, bytes(8)), "4000 is out of range", again),
        "safetensors of another size": (_header({"a": _entry(0, 8, [3])}, bytes(8)), "8 bytes for [3]", again),
        "safetensors, negative offset": (_header({"a": _entry(-8, 0, [2])}, bytes(8)), "no proper offsets", again),
        "safetensors, unclaimed bytes": (_header({"a": _entry(0, 8, [2])}, bytes(9)), "1 bytes that no tensor", again),
        "safetensors, a name twice": (
            struct.pack("<Q", 13) + b'{"a":1,"a":2}',
            "a name stands in it twice",
            again,
        ),
        "safetensors, unknown type": (
            _header({"a": _entry(0, 8, [2], "F4")}, bytes(8)),
            "element type 'F4'",
            "float32",
        ),
        "safetensors, huge header": (
            struct.pack("<Q", 1 << 39) + b"{" + bytes(99),
            "claims 549755813888 bytes",
            "save",
        ),
        "two members of one name": (_twice(), "two members named", again),
    }


def _twice() -> bytes:
    data = archive(b"\x80\x02}.", {"0": bytes(16), "1": bytes(16)})
    return data.replace(b"archive/data/1", b"archive/data/0")


@pytest.mark.parametrize("name", sorted(_broken()))
def test_broken_file_says_what_it_is_and_what_helps(name: str, tmp_path: Path) -> None:
    data, finding, remedy = _broken()[name]
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    first, _, last = refusal(path).splitlines()
    assert finding in first
    assert remedy in last


def _sparse(path: Path) -> None:
    save({"a": torch.eye(3).to_sparse()}, path)


def _quantized(path: Path) -> None:
    save({"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)


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
        file.write(_torch_bytes())
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
def test_broken_shards(damage: Callable[[Path], None], finding: str, tmp_path: Path) -> None:
    index = _shards(tmp_path)
    damage(tmp_path)
    assert finding in refusal(index)


# Any damage at all


def _mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    generator = random.Random(seed)
    for number in range(count):
        if number % 3 == 0:
            yield data[: generator.randrange(len(data))]
        else:
            changed = bytearray(data)
            for _ in range(generator.choice((1, 1, 3, 20))):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            yield bytes(changed)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "bare"])
def test_random_damage_never_crashes_and_never_takes_long(kind: str, tmp_path: Path) -> None:
    """400 seeded truncations and byte flips each: read, or refused in words; nothing else, and no time is lost."""
    import pickle

    small = {"a": torch.arange(6.0).reshape(2, 3)[:, 1:], "args": argparse.Namespace(lr=0.1), "n": np.arange(3)}
    buffer = io.BytesIO()
    torch.save(small, buffer, _use_new_zipfile_serialization=kind == "zip")
    plain = pickle.dumps({"n": np.arange(3), "args": argparse.Namespace(lr=0.1), "t": (1, 2.5, "x")}, 4)
    source = {"safetensors": _safetensors_bytes(), "bare": plain}.get(kind, buffer.getvalue())
    path = tmp_path / "weights"
    refused = 0
    began = time.monotonic()
    for mutation in _mutations(source, 400, seed=7):
        path.write_bytes(mutation)
        try:
            assert isinstance(read_checkpoint_file(path), CheckpointFile)
        except UserError:
            refused += 1
    assert refused > 200
    assert time.monotonic() - began < 60  # a hang or a memory explosion, not a slow machine


def test_the_embedded_pickles_of_both_formats_are_the_same_file_otherwise(tmp_path: Path) -> None:
    """The fixtures that hostile pickles are wrapped in are sound: around harmless data they are read."""
    for number, data in enumerate((archive(b"\x80\x02K\x05."), legacy(b"\x80\x02K\x05."))):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert read_checkpoint_file(path).content == 5
