"""Hugging Face's shards: an index in JSON that names, for every tensor, the file it lies in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any

from torch import Tensor

from benchmarks.files.json_files import parse_json
from transfer.checkpoint.files.parsed import Parsed
from transfer.checkpoint.files.recognise import HEAD_BYTES, is_json, not_an_index
from transfer.checkpoint.files.safetensors_file import METADATA
from transfer.checkpoint.refusal import Limits, Refusal, damaged, over_limit


@dataclass(frozen=True)
class Index:
    """An index of shards: the file of every tensor, by the tensor's name."""

    shard_of: dict[str, str]
    metadata: dict[str, Any]

    @property
    def shards(self) -> tuple[str, ...]:
        """The names of all files, sorted."""
        return tuple(sorted(set(self.shard_of.values())))


def read_index(file: IO[bytes], limits: Limits) -> Index | None:
    """Return the index in `file`, None when the file is not JSON. Raises Refusal for other JSON and a broken index."""
    file.seek(0)
    if not is_json(file.read(HEAD_BYTES)):
        return None
    if file.seek(0, 2) > limits.header_bytes:
        raise over_limit("a very large JSON file", f"an index of at most {limits.header_bytes / 1e6:.0f} MB")
    file.seek(0)
    if (text := file.read()).count(b",") > limits.tensors:
        raise over_limit("an index of very many values", f"an index of at most {limits.tensors:,} tensors")
    try:
        document = parse_json(text)
    except ValueError:
        raise damaged("it begins like JSON but cannot be parsed as JSON") from None
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict):
        raise not_an_index()
    if not weight_map or not all(map(_is_plain_name, weight_map.values())):
        raise damaged("an index whose shards are not plain file names beside it")
    metadata = document.get("metadata")
    return Index(weight_map, metadata if isinstance(metadata, dict) else {})


def _is_plain_name(name: object) -> bool:
    """Return whether it names a file in the index's own folder, which an index must not lead out of."""
    return isinstance(name, str) and name not in ("", ".", "..") and PurePath(name).name == name and "\0" not in name


def merge(index: Index, parts: Mapping[str, Parsed]) -> Parsed:
    """Return all tensors as one dict. Raises Refusal unless each lies once, in the shard that the index names."""
    content: dict[str, Any] = {METADATA: index.metadata} if index.metadata else {}
    found_in: dict[str, str] = {}
    for shard, part in parts.items():
        for name, tensor in _tensors(shard, part).items():
            if name in found_in:
                raise _wrong(f"tensor {name!r} lies in two shards, {found_in[name]} and {shard}")
            found_in[name], content[name] = shard, tensor
    for name in sorted({*index.shard_of, *found_in}):
        if index.shard_of.get(name) != found_in.get(name):
            where = f"the index says {index.shard_of.get(name, 'nothing')}, it lies in {found_in.get(name, 'none')}"
            raise _wrong(f"tensor {name!r} is not where it belongs: {where}")
    kinds = {"safetensors" if part.container == "safetensors" else "torch" for part in parts.values()}
    if len(kinds) > 1:
        raise _wrong("shards of two formats")
    inert = frozenset[str]().union(*(part.inert for part in parts.values()))
    return Parsed(f"sharded {kinds.pop()}", content, inert)


def _tensors(shard: str, part: Parsed) -> dict[str, Tensor]:
    if not isinstance(part.content, dict):
        raise damaged(f"shard {shard} holds no dict of tensors")
    return {name: value for name, value in part.content.items() if isinstance(value, Tensor)}


def _wrong(finding: str) -> Refusal:
    rule = "every tensor lies in one shard, the one that the index names"
    return Refusal(f"damaged: {finding}", rule, "fetch the index and all shards again, from one revision")
