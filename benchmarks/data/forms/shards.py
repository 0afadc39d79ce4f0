"""WebDataset tar shards, indexed once and then read by offset.

The `webdataset` library reads shards as streams, in the order in which they were written. Our sampler needs any image
at any time, so that a resumed training sees the same ones: the standard library's `tarfile` finds where each lies.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.index import cache_folder
from benchmarks.data.remote.access import state_of
from benchmarks.data.remote.kept import RemoteFiles, plan
from benchmarks.data.remote.paths import RemotePath
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.arrays import read_arrays, write_arrays
from benchmarks.files.atomic import make_folder
from benchmarks.files.json_files import parse_json
from benchmarks.files.regular import regular, regular_stat
from benchmarks.text.progress import ProgressReport

INDEX_VERSION = 2
LONGEST_LABEL = 2**20
"""Bytes that are read of a member with a label."""
LARGEST_LABEL = 2**31 - 1
IMAGES = {"jpg", "jpeg", "png", "webp"}
COLUMNS = ("name_lengths", "offsets", "sizes", "labels")


class ImageMember(NamedTuple):
    """One image of a shard: its key and suffix, where its bytes lie, and its label; None where none was asked for."""

    key: str
    suffix: str
    offset: int
    size_bytes: int
    label: int | None


@dataclass(frozen=True)
class ShardedImages:
    """Images inside tar shards; one is named `SHARD/KEY.SUFFIX`, by the shard's path below `root`.

    They are kept as arrays instead of objects, so that loader processes share the memory of a million images.
    """

    root: Path
    shards: Sequence[Path]
    shard_of: NDArray[Any]
    """For each image, the position of its shard."""
    names: NDArray[np.uint8]
    """The names of all images that lie in the shards, one behind the other."""
    spans: NDArray[Any]
    """For each image [2], where its name begins in `names`, and where it ends."""
    offsets: NDArray[Any]
    sizes_bytes: NDArray[Any]
    remote: RemoteFiles | None = None
    """How shards are read that lie elsewhere."""

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def files(self) -> Sequence[Path]:
        return self.shards

    def name(self, position: int) -> str:
        return f"{self._shard(position).relative_to(self.root).as_posix()}/{self._key(position)}"

    def where(self, position: int) -> str:
        return f"{self._shard(position)}/{self._key(position)}"

    def _shard(self, position: int) -> Path:
        return self.shards[int(self.shard_of[position])]

    def _key(self, position: int) -> str:
        first, end = self.spans[position]
        return os.fsdecode(self.names[first:end].tobytes())

    def open(self, position: int) -> BinaryIO:
        # Opened anew each time, as an image file would be: a handle kept for each shard would exceed a process's limit.
        place, first, size = self._shard(position), int(self.offsets[position]), int(self.sizes_bytes[position])
        if isinstance(place, RemotePath) and self.remote is not None:
            return io.BytesIO(self.remote.read(place, first, size))
        with open(regular(place), "rb") as shard:
            shard.seek(first)
            return io.BytesIO(shard.read(size))

    def select(self, positions: Sequence[int] | NDArray[Any]) -> ShardedImages:
        at = np.asarray(positions, dtype=np.int64)
        return replace(
            self,
            shard_of=self.shard_of[at],
            spans=self.spans[at],
            offsets=self.offsets[at],
            sizes_bytes=self.sizes_bytes[at],
        )


class Sharded(NamedTuple):
    """Images in shards with their labels; these are empty where none were asked for."""

    source: ShardedImages
    labels: Sequence[int]


def read_shards(root: Path, shards: Sequence[Path], label_field: str | None, index_folder: Path) -> Sharded:
    """Index the shards, or take their indices from `index_folder`.

    `label_field` is where labels are in a sample's .json, if it has no .cls; None: no labels are read. Raises UserError
    for a shard that is missing, cut off or compressed, and for an image without a label that should have one.
    """
    parts: list[dict[str, NDArray[Any]]] = []
    elsewhere = {shard: state_of(shard) for shard in shards if isinstance(shard, RemotePath)}
    remote = plan(elsewhere) if elsewhere else None
    with ProgressReport(f"indexing {shards[0].parent}", len(shards), "shard") as progress:
        for position, shard in enumerate(shards):
            parts.append(_indexed(shard, label_field, index_folder, remote))
            progress.show(position + 1)
    counts = [len(part["offsets"]) for part in parts]
    if not sum(counts):
        rule = f"shards with images ({', '.join(sorted(IMAGES))})"
        raise UserError.about("shards", f"{shards[0]}, ...", rule, "set the split to shards with images")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in (*COLUMNS, "names")}
    ends = np.cumsum(columns["name_lengths"], dtype=np.int64)
    spans = np.stack([ends - columns["name_lengths"], ends], axis=1)
    shard_of = np.repeat(np.arange(len(shards), dtype=np.int32), counts)
    places = columns["offsets"], columns["sizes"]
    source = ShardedImages(root, shards, shard_of, columns["names"], spans, *places, remote)
    return Sharded(source, [] if label_field is None else columns["labels"].tolist())


def default_index_folder() -> Path:
    """Return where indices of shards are kept if nothing else is said."""
    return cache_folder("shards")


def _indexed(
    shard: Path, label_field: str | None, index_folder: Path, remote: RemoteFiles | None
) -> dict[str, NDArray[Any]]:
    """Return a shard's index, from the folder of indices where it holds one for a file of this path, size and time."""
    if isinstance(shard, RemotePath) and remote is not None:
        size, state = remote.states[shard].size_bytes, f"{shard}\0{remote.states[shard]}"
    else:
        found = _state(shard)
        size, state = found.st_size, f"{shard.resolve()}\0{found.st_size}\0{found.st_mtime_ns}"
    known = f"{INDEX_VERSION}\0{state}" + ("" if label_field is None else f"\0{label_field}")
    index = index_folder / f"{hashlib.sha256(known.encode(errors='surrogateescape')).hexdigest()}.index"
    try:
        return _known(index, size)
    except (OSError, ValueError, KeyError):
        with (
            remote.opened(shard) if isinstance(shard, RemotePath) and remote is not None else open(shard, "rb") as file
        ):
            made = _columns(list(_members(shard, file, label_field)))
    try:
        make_folder(index_folder)
        write_arrays(index, {"version": INDEX_VERSION}, made)
    except (UserError, WorkFailed):
        pass  # no room or no right: the shard is indexed again next time
    return made


def _state(shard: Path) -> os.stat_result:
    try:
        return regular_stat(shard)
    except OSError as error:
        rule, remedy = "a tar file that exists", "complete the shards, or change the pattern"
        raise UserError.about("shard", f"{shard}" if error.errno else f"{shard} ({error})", rule, remedy) from None


def _columns(members: Sequence[ImageMember]) -> dict[str, NDArray[Any]]:
    names = [os.fsencode(f"{member.key}.{member.suffix}") for member in members]
    return {
        "names": np.frombuffer(b"".join(names), np.uint8),
        "name_lengths": np.array([len(name) for name in names], dtype=np.int32),
        "offsets": np.array([member.offset for member in members], dtype=np.int64),
        "sizes": np.array([member.size_bytes for member in members], dtype=np.int64),
        "labels": np.array([member.label or 0 for member in members], dtype=np.int32),
    }


def _known(index: Path, shard_bytes: int) -> dict[str, NDArray[Any]]:
    """Return what an index holds. Raises ValueError for what is none, or leads out of a shard of this size."""
    found = read_arrays(index).arrays
    lengths, offsets, sizes, labels = (found[name] for name in COLUMNS)
    if len({len(lengths), len(offsets), len(sizes), len(labels)}) > 1 or lengths.sum() != len(found["names"]):
        raise ValueError("columns of different lengths")
    if min(lengths.min(initial=0), offsets.min(initial=0), sizes.min(initial=0)) < 0:
        raise ValueError("a length below zero")
    if len(offsets) and int(offsets.max()) + int(sizes.max()) > shard_bytes and (offsets > shard_bytes - sizes).any():
        raise ValueError("an image outside its shard")
    if labels.min(initial=0) < 0:
        raise ValueError("a label that is none")
    return found


def _members(shard: Path, file: IO[bytes], label_field: str | None) -> Iterator[ImageMember]:
    """Yield the images of one shard, of which only the headers and labels are read."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            headers = tar.getmembers()
            _require_end(file, tar)  # before a missing label is blamed on the writer
            yield from _samples(shard, tar, headers, label_field)
    except tarfile.ReadError as error:
        whole = "an uncompressed tar file, whole"
        remedy = "copy it again, or decompress it: an image in a compressed shard cannot be read on its own"
        raise UserError.about("shard", f"{shard} ({error})", whole, remedy) from None


def _samples(
    shard: Path, tar: tarfile.TarFile, headers: Sequence[tarfile.TarInfo], label_field: str | None
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
    shard: Path, tar: tarfile.TarFile, key: str, parts: dict[str, tarfile.TarInfo], label_field: str | None
) -> Iterator[ImageMember]:
    images = [suffix for suffix in parts if suffix in IMAGES]
    if not images:
        return
    if len(images) > 1:
        rule = "one image per key"
        raise UserError.about("shard", f"{shard}: {key}: {', '.join(images)}", rule, "write the shard again")
    suffix = images[0]
    image = parts[suffix]
    label = None if label_field is None else _label(shard, tar, key, parts, label_field)
    yield ImageMember(key, suffix, image.offset_data, image.size, label)


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


def _require_end(file: IO[bytes], tar: tarfile.TarFile) -> None:
    """Raise ReadError unless the shard has tar's end mark: one cut off between two images would look whole."""
    file.seek(tar.offset)
    mark = file.read(tarfile.BLOCKSIZE)
    if not mark or mark.strip(b"\0"):
        raise tarfile.ReadError("the end mark is missing: it was cut off")
