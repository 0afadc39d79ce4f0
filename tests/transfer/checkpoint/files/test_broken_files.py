"""Broken and foreign files say what they are and what helps."""

from __future__ import annotations

import functools
import io
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.transfer.checkpoint.hostile import archive
from tests.transfer.checkpoint.written import entry, header, refusal, safetensors_bytes, torch_bytes


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


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


@functools.cache
def _broken() -> dict[str, tuple[bytes, str, str]]:
    """Return name -> (bytes, words of the finding, words of the remedy)."""
    zipped, older, safe = torch_bytes(), torch_bytes(zipped=False), safetensors_bytes()
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
        "AugReg's npz": (
            _zip({"Transformer/encoder_norm/scale.npy": b"x"}),
            "of Google's ViTs",
            "checkpoint_path=FILE",
        ),
        "Flax": (b"\x81\xa6params\x81\xa9embedding\xff", "a file of MessagePack, as Flax writes", "from_flax=True"),
        "npy": (b"\x93NUMPY\x01\x00v\x00", "a single NumPy array", "safetensors"),
        "unknown bytes": (b"\xde\xad\xbe\xef" * 8, "an unknown kind (it begins with the bytes de ad be ef", "path"),
        "safetensors that overlap": (
            header({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
            "invalid offset for tensor `b`",
            again,
        ),
        "safetensors with a hole": (
            header({"a": entry(0, 8, [2]), "b": entry(12, 20, [2])}, bytes(20)),
            "invalid offset for tensor `b`",
            again,
        ),
        "safetensors out of range": (
            header({"a": entry(0, 4000, [1000])}, bytes(8)),
            "truncated: it ends before the end of the tensors",
            again,
        ),
        "safetensors of another size": (
            header({"a": entry(0, 8, [3])}, bytes(8)),
            "invalid shape, data type, or offset for tensor",
            again,
        ),
        "safetensors, impossible shape": (
            header({"a": entry(0, 0, [0, 2**62, 2**62])}, b""),
            "the impossible shape",
            again,
        ),
        "safetensors, negative offset": (
            header({"a": entry(-8, 0, [2])}, bytes(8)),
            "invalid value: integer `-8`",
            again,
        ),
        "safetensors, unclaimed bytes": (header({"a": entry(0, 8, [2])}, bytes(9)), "or goes on after it", again),
        "safetensors, a name twice": (
            struct.pack("<Q", 13) + b'{"a":1,"a":2}',
            "its safetensors header is broken: invalid JSON",
            again,
        ),
        "safetensors, unknown type": (
            header({"a": entry(0, 8, [2], "F4")}, bytes(8)),
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
