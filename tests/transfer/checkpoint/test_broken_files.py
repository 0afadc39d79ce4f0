"""Broken and foreign files say what they are and what helps; random damage never gets further than that."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import signal
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.errors import UserError
from tests.transfer.checkpoint.hostile import archive, legacy
from tests.transfer.checkpoint.written import content_of, refusal, save, shards
from transfer.checkpoint.files.checkpoint_file import CheckpointFile, read_checkpoint_file


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
        "truncated safetensors, data": (safe[:-4], "truncated: it ends before the end of the tensors", again),
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
            "invalid offset for tensor `b`",
            again,
        ),
        "safetensors with a hole": (
            _header({"a": _entry(0, 8, [2]), "b": _entry(12, 20, [2])}, bytes(20)),
            "invalid offset for tensor `b`",
            again,
        ),
        "safetensors out of range": (
            _header({"a": _entry(0, 4000, [1000])}, bytes(8)),
            "truncated: it ends before the end of the tensors",
            again,
        ),
        "safetensors of another size": (
            _header({"a": _entry(0, 8, [3])}, bytes(8)),
            "invalid shape, data type, or offset for tensor",
            again,
        ),
        "safetensors, impossible shape": (
            _header({"a": _entry(0, 0, [0, 2**62, 2**62])}, b""),
            "the impossible shape",
            again,
        ),
        "safetensors, negative offset": (
            _header({"a": _entry(-8, 0, [2])}, bytes(8)),
            "invalid value: integer `-8`",
            again,
        ),
        "safetensors, unclaimed bytes": (_header({"a": _entry(0, 8, [2])}, bytes(9)), "or goes on after it", again),
        "safetensors, a name twice": (
            struct.pack("<Q", 13) + b'{"a":1,"a":2}',
            "its safetensors header is broken: invalid JSON",
            again,
        ),
        "safetensors, unknown type": (
            _header({"a": _entry(0, 8, [2], "F4")}, bytes(8)),
            "invalid shape, data type, or offset for tensor",
            again,
        ),
        "safetensors, huge header": (
            struct.pack("<Q", 1 << 39) + b"{" + bytes(99),
            "claims 549755813888",
            "save",
        ),
        "two members of one name": (_twice(), "two members named", again),
        "two names that differ in case": (_zip({"a/data.pkl": b"", "a/DATA.PKL": b""}), "two members named", again),
        "something before the archive": (b"PK\x03\x04" + archive(b"\x80\x02}."), "not the whole file", again),
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
def test_brokenshards(damage: Callable[[Path], None], finding: str, tmp_path: Path) -> None:
    index = shards(tmp_path)
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
def test_random_damage_is_read_or_refused_in_words(kind: str, tmp_path: Path) -> None:
    """400 seeded truncations and byte flips each: never another error, never a hang.

    What is still read of an archive is unharmed: its checksums cover every byte that matters.
    """
    small = {"a": torch.arange(6.0).reshape(2, 3)[:, 1:], "args": argparse.Namespace(lr=0.1), "n": np.arange(3)}
    buffer = io.BytesIO()
    torch.save(small, buffer, _use_new_zipfile_serialization=kind == "zip")
    plain = pickle.dumps({"n": np.arange(3), "args": argparse.Namespace(lr=0.1), "t": (1, 2.5, "x")}, 4)
    source = {"safetensors": _safetensors_bytes(), "bare": plain}.get(kind, buffer.getvalue())
    path = tmp_path / "weights"
    refused = 0
    signal.alarm(120)  # ends a hang; no claim about speed
    for mutation in _mutations(source, 400, seed=7):
        path.write_bytes(mutation)
        try:
            checkpoint = read_checkpoint_file(path)
            assert isinstance(checkpoint, CheckpointFile)
            assert kind != "zip" or torch.equal(content_of(path)["a"], small["a"])
        except UserError:
            refused += 1
    signal.alarm(0)
    assert refused > 200


def test_the_embedded_pickles_of_both_formats_are_the_same_file_otherwise(tmp_path: Path) -> None:
    """The fixtures that hostile pickles are wrapped in are sound: around harmless data they are read."""
    for number, data in enumerate((archive(b"\x80\x02K\x05."), legacy(b"\x80\x02K\x05."))):
        path = tmp_path / str(number)
        path.write_bytes(data)
        assert read_checkpoint_file(path).content == 5
