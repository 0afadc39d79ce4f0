"""Checkpoint files of every form, written for a test, and how they are read or refused."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.errors import UserError
from transfer.checkpoint.files.checkpoint_file import Limits, read_checkpoint_file


def weights() -> dict[str, object]:
    """Return tensors of all element types, with a shared storage, a view, an expansion, a parameter, an empty one."""
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


def shards(folder: Path, safe: bool = True) -> Path:
    parts = {"model-1-of-2": {"a": torch.ones(2)}, "model-2-of-2": {"b": torch.zeros(3)}}
    for name, part in parts.items():
        save_file(part, folder / name) if safe else save(part, folder / name)
    index = folder / "model.index.json"
    shard_of = {"a": "model-1-of-2", "b": "model-2-of-2"}
    index.write_text(json.dumps({"metadata": {"total_size": 20}, "weight_map": shard_of}))
    return index


def header(entries: dict[str, object], data: bytes) -> bytes:
    """Return a safetensors file of these entries."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def torch_bytes(zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(50.0)}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def safetensors_bytes() -> bytes:
    return header({"a": entry(0, 8, [2]), "b": entry(8, 16, [2])}, bytes(16))
