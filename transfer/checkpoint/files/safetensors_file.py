"""safetensors, read by its published format: 8 bytes of header length, a JSON header, then the tensors' bytes.

Source: github.com/huggingface/safetensors, "Format". Read here, not by its library, so that every damage is named.
"""

from __future__ import annotations

import json
from mmap import mmap
from typing import Any

import torch
from torch import Tensor

from transfer.checkpoint.files.refusal import Limits, damaged, over_limit, truncated, unsupported
from transfer.checkpoint.files.torch_file import Parsed
from transfer.checkpoint.pickles.rebuild import elements_of, from_bytes, is_count

METADATA = "__metadata__"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def is_safetensors(head: bytes) -> bool:
    """Tell by a length that is not text, and the brace of the JSON header behind it."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def read_safetensors(data: mmap, limits: Limits) -> Parsed:
    """Read the tensors as views of `data`; the header's free text comes along under `__metadata__`."""
    header, begin = _header(data, limits)
    content: dict[str, Any] = {}
    if (metadata := header.pop(METADATA, None)) is not None:
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise damaged("a safetensors header whose metadata is not text")
        content[METADATA] = metadata
    if len(header) > limits.tensors:
        raise over_limit(f"{len(header)} tensors", f"at most {limits.tensors} tensors in a file")
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(*item)):
        dtype, shape, (start, stop) = _dtype(name, entry), _shape(name, entry), _offsets(name, entry)
        if start != end:
            problem = "overlap" if start < end else "leave a hole"
            raise damaged(f"a safetensors header in which {name!r} and its neighbour {problem} at byte {end}")
        if stop > len(data) - begin:
            raise truncated(f"before tensor {name!r}, whose offset {stop} is out of range ({len(data) - begin} bytes)")
        if stop - start != elements_of(shape) * dtype.itemsize:
            raise damaged(f"a safetensors header in which {name!r} has {stop - start} bytes for {shape} {dtype}")
        end = stop
        content[name] = _tensor(data, begin + start, begin + stop, dtype, shape)
    if end != len(data) - begin:
        raise damaged(f"{len(data) - begin - end} bytes that no tensor of its safetensors header claims")
    return Parsed("safetensors", content)


def _header(data: mmap, limits: Limits) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(data[:8], "little")
    if length > limits.header_bytes:
        rule = f"a header of at most {limits.header_bytes / 1e6:.0f} MB"
        raise over_limit(f"its safetensors header claims {length} bytes", rule)
    if 8 + length > len(data):
        raise truncated(f"within its safetensors header of {length} bytes")
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise damaged(f"its safetensors header is not JSON ({str(error)[:80]})") from None
    if not isinstance(header, dict):
        raise damaged("its safetensors header is not a table of tensors")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands in it twice")
    return result


def _offsets(name: str, entry: object) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_count, offsets)) or offsets[0] > offsets[1]:
        raise damaged(f"a safetensors header in which {name!r} has no proper offsets")
    return offsets[0], offsets[1]


def _shape(name: str, entry: dict[str, Any]) -> list[int]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) > 64 or not all(map(is_count, shape)):
        raise damaged(f"a safetensors header in which {name!r} has no proper shape")
    return shape


def _dtype(name: str, entry: dict[str, Any]) -> torch.dtype:
    code = entry.get("dtype")
    if not isinstance(code, str) or code not in _DTYPES:
        remedy = "save it as float32, float16 or bfloat16"
        raise unsupported(f"tensor {name!r} has the element type {str(code)[:20]!r}, which is not read", remedy)
    return _DTYPES[code]


def _tensor(data: mmap, start: int, stop: int, dtype: torch.dtype, shape: list[int]) -> Tensor:
    return from_bytes(memoryview(data)[start:stop], dtype).reshape(shape)
