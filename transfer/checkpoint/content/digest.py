"""The sha256 by which an encoder's tensors are known, whatever file and layout they came in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

_DTYPES: Final[dict[torch.dtype, str]] = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The names of types in a safetensors file, in the order in which their tensors lie there."""


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the safetensors file that these tensors make, which is never made: it may be gigabytes.

    Tensors that share memory count as if each had its own.
    """
    order = {dtype: place for place, dtype in enumerate(_DTYPES)}
    listed = sorted(weights.items(), key=lambda item: (order.get(item[1].dtype, len(order)), item[0]))
    header, end = {}, 0
    for name, tensor in listed:
        begin, end = end, end + tensor.numel() * tensor.itemsize
        header[name] = {
            "dtype": _DTYPES.get(tensor.dtype, str(tensor.dtype)),
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256(len(text).to_bytes(8, "little") + text)
    for _, tensor in listed:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
