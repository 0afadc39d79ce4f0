"""The digest of tensors is that of the safetensors file which they make."""

from __future__ import annotations

import hashlib

import torch
from safetensors.torch import save

from transfer.checkpoint.content.digest import weights_sha256

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    *(torch.complex64, torch.bool),
)


def test_it_is_the_sha256_of_the_library_s_file() -> None:
    torch.manual_seed(0)
    weights = {f"{name}.{dtype}": (torch.rand(3, 2) * 9).to(dtype) for dtype in DTYPES for name in "zab"}
    weights |= {'odd "é\n\x01\x7f': torch.zeros(0, 3), "scalar": torch.zeros(()), "view": torch.rand(4, 5).T}
    expected = hashlib.sha256(save({name: each.contiguous() for name, each in weights.items()})).hexdigest()
    assert weights_sha256(weights) == expected
    assert weights_sha256({}) == hashlib.sha256(save({})).hexdigest()


def test_tensors_that_share_memory_count_as_their_own() -> None:
    """safetensors refuses to save such; torch's files have them: CoaT's, tied embeddings."""
    shared = torch.rand(3)
    assert weights_sha256({"a": shared, "b": shared}) == weights_sha256({"a": shared, "b": shared.clone()})
