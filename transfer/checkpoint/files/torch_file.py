"""Both formats of torch.save: a zip archive (since torch 1.6) and the older stream of pickles and raw storages.

Sources: torch/serialization.py of torch 2.x (`_save`, `_legacy_save`); the ZIP application note, 4.3 to 4.5.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from mmap import mmap
from typing import IO, cast

import torch

from transfer.checkpoint.files.refusal import Limits, Refusal, damaged, over_limit, truncated, unsupported
from transfer.checkpoint.pickles.rebuild import Rebuilder, Storage, from_bytes, with_swapped_bytes
from transfer.checkpoint.pickles.unpickle import Unpickler

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Parsed:
    """What was read out of one file."""

    container: str
    content: object
    inert: frozenset[str] = frozenset()


# The zip archive


def read_torch_zip(file: IO[bytes], data: mmap, limits: Limits) -> Parsed:
    """Read `TOP/data.pkl` with the storages `TOP/data/KEY`; tensors are views of `data`, nothing is unpacked."""
    archive = _archive(file, data)
    top = _top_folder(archive.namelist())
    members = _members(archive, data)
    pickle = members[f"{top}data.pkl"]
    if len(pickle) > limits.pickle_bytes:
        rule = f"a pickle of at most {limits.pickle_bytes / 1e6:.0f} MB beside the tensors"
        raise over_limit(f"its pickle alone has {len(pickle) / 1e6:.0f} MB", rule)
    order = bytes(members.get(f"{top}byteorder", b"little")).decode("ascii", "replace")
    if order not in ("little", "big"):
        raise damaged(f"the unknown byte order {order!r}")
    storages = _ZipStorages(members, f"{top}data/", swap=order != sys.byteorder)
    machine = Unpickler(io.BytesIO(pickle), limits, Rebuilder(limits, len(data)), storages.load)
    content = machine.load()
    return Parsed("torch zip", content, frozenset(machine.inert))


class _ZipStorages:
    """The storages of a zip archive, each made once, so that tensors that shared memory still do."""

    def __init__(self, members: dict[str, memoryview], folder: str, swap: bool) -> None:
        self._members, self._folder, self._swap = members, folder, swap
        self._made: dict[tuple[str, torch.dtype], Storage] = {}

    def load(self, key: str, dtype: torch.dtype, count: int) -> Storage:
        if (storage := self._made.get((key, dtype))) is None:
            if (data := self._members.get(self._folder + key)) is None:
                raise damaged(f"its storage {key!r} is missing")
            if len(data) % dtype.itemsize:
                raise damaged(f"storage {key!r} has {len(data)} bytes, which are no whole number of {dtype}")
            flat = from_bytes(data, dtype)
            if self._swap and dtype.itemsize > 1:
                flat = with_swapped_bytes(flat)
            storage = self._made[key, dtype] = Storage(flat.untyped_storage(), dtype, 0, flat.numel())
        if count != storage.count:
            raise damaged(f"storage {key!r} has {storage.count} elements where the pickle says {count}")
        return storage


def _archive(file: IO[bytes], data: mmap) -> zipfile.ZipFile:
    """Open the archive's table of contents. Raises Refusal where there is none, or where members are encrypted."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError, OSError) as error:
        if b"PK\x05\x06" not in data[-(1 << 16) - 22 :]:
            raise truncated("before the table of contents of its zip archive") from None
        raise damaged(f"its zip archive has no usable table of contents ({str(error)[:80]})") from None
    if any(info.flag_bits & _ENCRYPTED for info in archive.infolist()):
        raise unsupported("an encrypted zip archive", "decrypt it with its password first (unzip)")
    return archive


def _members(archive: zipfile.ZipFile, data: mmap) -> dict[str, memoryview]:
    """Return every member's bytes by name. Raises Refusal for members that are compressed, damaged or overlapping."""
    members: dict[str, memoryview] = {}
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.filename in members:
            raise damaged(f"two members named {info.filename[:80]!r}")
        start, after = _extent(info, data)
        if start < end or after > archive.start_dir:
            raise damaged(f"member {info.filename[:80]!r} overlaps another, as zip bombs do; nothing was unpacked")
        end = after
        members[info.filename] = memoryview(data)[start:after]
        if info.CRC and zlib.crc32(members[info.filename]) != info.CRC:  # 0 where torch was told not to compute it
            raise damaged(f"member {info.filename[:80]!r} does not match its checksum")
    return members


def _extent(info: zipfile.ZipInfo, data: mmap) -> tuple[int, int]:
    """Return where a member's bytes begin and end."""
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise _compressed(info)
    header = data[info.header_offset : info.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise damaged(f"member {info.filename[:80]!r} is not where the table of contents says")
    start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    return start, start + info.file_size


def _compressed(info: zipfile.ZipInfo) -> Refusal:
    grows = f"{info.filename[:80]!r} would grow from {info.compress_size} to {info.file_size} bytes"
    bomb = info.file_size > 20 * max(info.compress_size, 1)
    finding = f"a zip bomb: {grows}; nothing was unpacked" if bomb else f"a compressed zip archive: {grows}"
    rule = "torch stores the members of its archives uncompressed; none is unpacked here"
    return Refusal(
        finding, rule, "if it is a checkpoint after all, pack its folder again without compression: zip -0 -r"
    )


def _top_folder(members: list[str]) -> str:
    tops = sorted((name.removesuffix("data.pkl") for name in members if _is_data_pickle(name)), key=len)
    if not tops:
        raise _other_archive(members)
    if f"{tops[0]}constants.pkl" in members or any(name.startswith(f"{tops[0]}code/") for name in members):
        remedy = "where you trust it: torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)"
        raise unsupported("a TorchScript archive: a program, not only weights", remedy)
    if len(tops) > 1:
        raise damaged(f"{len(tops)} checkpoints in one archive")
    return tops[0]


def _is_data_pickle(name: str) -> bool:
    return name == "data.pkl" or name.endswith("/data.pkl")


def _other_archive(members: list[str]) -> Refusal:
    if any(name.endswith(".npy") for name in members):
        remedy = "read it with numpy.load and save the arrays as tensors: safetensors.numpy.save_file"
        return unsupported("a NumPy archive (.npz)", remedy)
    if "model.weights.h5" in members:
        return unsupported("a Keras archive (.keras)", "convert the model to PyTorch first")
    shown = ", ".join(sorted(members)[:3])[:200] or "nothing"
    return unsupported(
        f"a zip archive that is not torch's (it holds {shown})", "unpack it and give the checkpoint inside"
    )


# The older stream


def read_pickles(data: mmap, limits: Limits) -> Parsed:
    """Read a stream that begins with a pickle: torch's older format, or one bare pickle (as detectron2's .pkl)."""
    stream = cast("IO[bytes]", data)
    rebuilder = Rebuilder(limits, len(data))
    machine = Unpickler(stream, limits, rebuilder)
    first = machine.load()
    if first == LEGACY_MAGIC:
        return _read_legacy(data, limits, rebuilder)
    if data.tell() != len(data):
        raise damaged("something follows its pickle: neither torch's older format nor a single pickle")
    return Parsed("pickle", first, frozenset(machine.inert))


def _read_legacy(data: mmap, limits: Limits, rebuilder: Rebuilder) -> Parsed:
    stream = cast("IO[bytes]", data)
    version = Unpickler(stream, limits, rebuilder).load()
    if version != LEGACY_PROTOCOL:
        raise damaged("an unknown version of torch's older format")
    Unpickler(stream, limits, rebuilder).load()  # the machine that wrote it: storages are little-endian on all
    storages = _LegacyStorages(len(data))
    machine = Unpickler(stream, limits, rebuilder, storages.load)
    content = machine.load()
    storages.fill(data, Unpickler(stream, limits, rebuilder).load())
    return Parsed("torch legacy", content, frozenset(machine.inert))


class _LegacyStorages:
    """Storages whose bytes follow after the pickle that uses them: made when first asked for, filled at the end."""

    def __init__(self, file_bytes: int) -> None:
        self._left = file_bytes
        self._made: dict[str, Storage] = {}

    def load(self, key: str, dtype: torch.dtype, count: int) -> Storage:
        if (storage := self._made.get(key)) is None:
            self._left -= count * dtype.itemsize
            if self._left < 0:
                raise truncated(f"before storage {key!r} of {count} elements: the storages do not fit into it")
            flat = torch.empty(count, dtype=dtype)
            storage = self._made[key] = Storage(flat.untyped_storage(), dtype, 0, count)
        if storage.dtype is not dtype or storage.count != count:
            raise damaged(f"storage {key!r} is described in two ways")
        return storage

    def fill(self, data: mmap, keys: object) -> None:
        """Copy the storages' bytes, in the order of `keys`, from the stream's position on."""
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(self._made):
            raise damaged("its list of storages is not that of its tensors")
        for key in keys:
            storage = self._made[key]
            count = data.read(8)
            raw = data.read(storage.count * storage.dtype.itemsize)
            if len(count) < 8 or len(raw) < storage.count * storage.dtype.itemsize:
                raise truncated(f"within storage {key!r}")
            if int.from_bytes(count, "little") != storage.count:
                raise damaged(f"storage {key!r} has another size than its tensors need")
            source = from_bytes(bytearray(raw), storage.dtype)
            flat = torch.empty(0, dtype=storage.dtype).set_(storage.raw)
            flat.copy_(with_swapped_bytes(source) if sys.byteorder == "big" else source)
