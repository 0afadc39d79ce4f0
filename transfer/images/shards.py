"""WebDataset tar shards, indexed once and then read by offset.

The `webdataset` library reads shards as streams, in the order in which they were written. Our sampler needs any image
at any time, so that a resumed training sees the same ones: the standard library's `tarfile` finds where each lies.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydantic import TypeAdapter

from benchmarks.engine.watch.progress import ProgressReport
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.json_files import parse_json, read_json_bytes
from benchmarks.files.regular import regular, regular_stat
from transfer.images.labelled import Found

INDEX_VERSION = 1
LONGEST_LABEL = 2**20
"""Bytes that are read of a member with a label."""
LARGEST_LABEL = 2**31 - 1
IMAGES = {"jpg", "jpeg", "png", "webp"}


class ImageMember(NamedTuple):
    """One image of a shard: its key and suffix, where its bytes lie, and its label."""

    key: str
    suffix: str
    offset: int
    size_bytes: int
    label: int


INDEX = TypeAdapter(list[ImageMember])


@dataclass(frozen=True)
class ShardedImages:
    """Images inside tar shards; one is named `SHARD/KEY.SUFFIX`, by the shard's path below `root`.

    They are kept as columns instead of objects, so that loader processes share the memory of a million images.
    """

    root: Path
    shards: Sequence[Path]
    shard_of: Sequence[int]
    """For each image, the position of its shard."""
    names: Sequence[str]
    offsets: Sequence[int]
    sizes_bytes: Sequence[int]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def files(self) -> Sequence[Path]:
        return self.shards

    def name(self, position: int) -> str:
        return f"{self.shards[self.shard_of[position]].relative_to(self.root).as_posix()}/{self.names[position]}"

    def where(self, position: int) -> str:
        return f"{self.shards[self.shard_of[position]]}/{self.names[position]}"

    def open(self, position: int) -> BinaryIO:
        # Opened anew each time, as an image file would be: a handle kept for each shard would exceed a process's limit.
        with open(regular(self.shards[self.shard_of[position]]), "rb") as shard:
            shard.seek(self.offsets[position])
            return io.BytesIO(shard.read(self.sizes_bytes[position]))

    def select(self, positions: Sequence[int]) -> ShardedImages:
        return ShardedImages(
            self.root,
            self.shards,
            array("q", [self.shard_of[position] for position in positions]),
            [self.names[position] for position in positions],
            array("q", [self.offsets[position] for position in positions]),
            array("q", [self.sizes_bytes[position] for position in positions]),
        )


def read_shards(root: Path, shards: Sequence[Path], label_field: str, index_folder: Path) -> Found:
    """Index the shards, or take their indices from `index_folder`.

    Raises UserError for a shard that is missing, cut off or compressed, and for an image without a label.
    """
    shard_of, names, offsets, sizes_bytes, labels = array("q"), [], array("q"), array("q"), array("q")
    with ProgressReport(f"indexing {shards[0].parent}", len(shards), "shard") as progress:
        for position, shard in enumerate(shards):
            for member in _indexed(shard, label_field, index_folder):
                shard_of.append(position)
                names.append(f"{member.key}.{member.suffix}")
                offsets.append(member.offset)
                sizes_bytes.append(member.size_bytes)
                labels.append(member.label)
            progress.show(position + 1)
    if not names:
        rule = f"shards with images ({', '.join(sorted(IMAGES))})"
        raise UserError.about("shards", f"{shards[0]}, ...", rule, "set data.train_split and data.test_split to them")
    return Found(ShardedImages(root, shards, shard_of, names, offsets, sizes_bytes), labels, None, "the shards' labels")


def default_index_folder() -> Path:
    """Return `mimbench/shards` in XDG_CACHE_HOME, or in `~/.cache` where that is not set."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mimbench" / "shards"


def _indexed(shard: Path, label_field: str, index_folder: Path) -> list[ImageMember]:
    """Return a shard's index, from the folder of indices where it holds one for a file of this path, size and time."""
    try:
        state = regular_stat(shard)
    except OSError as error:
        rule, remedy = "a tar file that exists", "complete the shards, or change the pattern"
        raise UserError.about("shard", f"{shard}" if error.errno else f"{shard} ({error})", rule, remedy) from None
    known = f"{INDEX_VERSION}\0{shard.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0{label_field}"
    index = index_folder / f"{hashlib.sha256(known.encode(errors='surrogateescape')).hexdigest()}.json"
    try:
        return _known(index, state.st_size)
    except (OSError, ValueError):
        members = list(_members(shard, label_field))
    try:
        make_folder(index_folder)
        write_atomically(index, json.dumps(members).encode())
    except (UserError, WorkFailed):
        pass  # no room or no right: the shard is indexed again next time
    return members


def _known(index: Path, shard_bytes: int) -> list[ImageMember]:
    """Return what an index holds. Raises ValueError for what is none, or leads out of a shard of this size."""
    members = INDEX.validate_json(read_json_bytes(index), strict=True)
    if any(not 0 <= each.offset <= each.offset + each.size_bytes <= shard_bytes for each in members):
        raise ValueError("an image outside its shard")
    if any(not 0 <= each.label <= LARGEST_LABEL for each in members):
        raise ValueError("a label that is none")
    return members


def _members(shard: Path, label_field: str) -> Iterator[ImageMember]:
    """Yield the images of one shard, of which only the headers and labels are read."""
    try:
        with tarfile.open(shard, "r:") as tar:
            headers = tar.getmembers()
            _require_end(shard, tar)  # before a missing label is blamed on the writer
            yield from _samples(shard, tar, headers, label_field)
    except tarfile.ReadError as error:
        whole = "an uncompressed tar file, whole"
        remedy = "copy it again, or decompress it: an image in a compressed shard cannot be read on its own"
        raise UserError.about("shard", f"{shard} ({error})", whole, remedy) from None


def _samples(
    shard: Path, tar: tarfile.TarFile, headers: Sequence[tarfile.TarInfo], label_field: str
) -> Iterator[ImageMember]:
    """Yield the images of samples, which WebDataset defines as members that follow each other and share a key."""
    key, seen = "", set[str]()
    parts: dict[str, tarfile.TarInfo] = {}
    for member in headers:
        if not member.isreg() or (split := _split(member.name)) is None:
            continue
        if split.key != key:
            yield from _sample(shard, tar, key, parts, label_field)
            key, parts = split.key, {}
        if split.suffix in parts or (not parts and key in seen):
            rule = "the members of a key side by side, and one of each suffix"
            raise UserError.about("shard", f"{shard}: {member.name} again", rule, "write the shard again")
        seen.add(key)
        parts[split.suffix] = member
    yield from _sample(shard, tar, key, parts, label_field)


class _Split(NamedTuple):
    key: str
    suffix: str


def _split(name: str) -> _Split | None:
    """Cut a member's name at the first dot of its last part; None for a member that WebDataset ignores."""
    match = re.fullmatch(r"((?:.*/)?[^./][^./]*)\.([^/]*)", name)
    if match is None or name.rpartition("/")[2].startswith("__"):
        return None
    return _Split(match[1], match[2].lower())


def _sample(
    shard: Path, tar: tarfile.TarFile, key: str, parts: dict[str, tarfile.TarInfo], label_field: str
) -> Iterator[ImageMember]:
    images = [suffix for suffix in parts if suffix in IMAGES]
    if not images:
        return
    if len(images) > 1:
        rule = "one image per key"
        raise UserError.about("shard", f"{shard}: {key}: {', '.join(images)}", rule, "write the shard again")
    suffix = images[0]
    image = parts[suffix]
    yield ImageMember(key, suffix, image.offset_data, image.size, _label(shard, tar, key, parts, label_field))


def _label(shard: Path, tar: tarfile.TarFile, key: str, parts: dict[str, tarfile.TarInfo], field: str) -> int:
    """Return a sample's label: the number in its `.cls`, or else in the field of its `.json`."""
    content: Any = None
    for suffix, parse in (("cls", int), ("json", lambda text: parse_json(text)[field])):
        if suffix not in parts:
            continue
        text = tar.extractfile(parts[suffix])
        assert text is not None  # it is a regular file
        raw = text.read(LONGEST_LABEL)
        try:
            content = parse(raw)
        except (ValueError, KeyError, TypeError, IndexError):
            content = raw[:80]
        break
    if isinstance(content, int) and not isinstance(content, bool) and 0 <= content <= LARGEST_LABEL:
        return content
    value = f"{shard}: {key}: {'no label' if content is None else repr(content)[:80]}"
    rule = f"a whole number in .cls, or in the field {field!r} of .json, from 0"
    raise UserError.about("label", value, rule, "data.label_field=FIELD names the field; or write the shard again")


def _require_end(shard: Path, tar: tarfile.TarFile) -> None:
    """Raise ReadError unless the shard has tar's end mark: one cut off between two images would look whole."""
    with open(shard, "rb") as file:
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0") or file.tell() == tar.offset:
            raise tarfile.ReadError("the end mark is missing: it was cut off")


def expand(pattern: str) -> list[str]:
    """Return the names that a shard pattern stands for: `{000..146}` counts, `{a,b}` lists; the rest is left alone."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    if match[3] is not None:
        choices = match[3].split(",")
    else:
        width = len(match[1]) if match[1].startswith("0") or len(match[1]) == len(match[2]) else 0
        choices = [f"{number:0{width}d}" for number in range(int(match[1]), int(match[2]) + 1)]
    return [name for each in choices for name in expand(pattern[: match.start()] + each + pattern[match.end() :])]
