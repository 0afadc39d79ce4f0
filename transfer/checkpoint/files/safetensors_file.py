"""Reading safetensors files with their own library: tensors are views of the file, and damage is refused."""

from __future__ import annotations

from typing import IO, Any

from safetensors import SafetensorError, safe_open

from transfer.checkpoint.files.parsed import Parsed
from transfer.checkpoint.pickles.budget import elements_of
from transfer.checkpoint.refusal import Limits, damaged, over_limit, truncated

METADATA = "__metadata__"


def is_safetensors(head: bytes) -> bool:
    """Return whether `head` begins with a header's length, too small to be text, and the brace of its JSON."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def read_safetensors(file: IO[bytes], size: int, limits: Limits) -> Parsed:
    """Read the tensors of a file of `size` bytes by name; the header's free text is under `__metadata__`.

    Raises Refusal for a damaged file, and for one beyond the limits.
    """
    _check_header(file, size, limits)
    content: dict[str, Any] = {}
    try:
        with safe_open(file.name, framework="pt") as tensors:
            if metadata := tensors.metadata():
                content[METADATA] = metadata
            names = tensors.offset_keys()
            if len(names) > limits.tensors:
                raise over_limit(f"{len(names)} tensors", f"at most {limits.tensors} tensors in a file")
            for name in names:
                elements_of(tensors.get_slice(name).get_shape())
                content[name] = tensors.get_tensor(name)
    except SafetensorError as error:
        words = str(error).removeprefix("Error while deserializing header: ")
        if "not fully covered" in words:
            raise truncated("before the end of the tensors in its safetensors header, or goes on after it") from None
        raise damaged(f"its safetensors header is broken: {words[:120]}") from None
    return Parsed("safetensors", content)


def _check_header(file: IO[bytes], size: int, limits: Limits) -> None:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > limits.header_bytes:
        rule = f"a header of at most {limits.header_bytes / 1e6:.0f} MB"
        raise over_limit(f"its safetensors header claims {length} bytes", rule)
    if 8 + length > size:
        raise truncated(f"within its safetensors header of {length} bytes")
