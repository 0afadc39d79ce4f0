"""Both formats of torch.save: a zip archive (since torch 1.6) and the older stream of pickles and raw storages.

Sources: torch/serialization.py of torch 2.x (`_save`, `_legacy_save`); the ZIP application note, 4.3 to 4.5.
"""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from functools import cache
from mmap import MADV_DONTNEED, mmap
from typing import IO, Any, cast

import torch

from transfer.checkpoint.files.parsed import Parsed
from transfer.checkpoint.pickles.budget import Budget
from transfer.checkpoint.pickles.machine import unpickled
from transfer.checkpoint.pickles.read import settled
from transfer.checkpoint.refusal import Limits, Refusal, damaged, over_limit, truncated, unsupported

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
_ENCRYPTED = 0x1


# The zip archive


def read_torch_zip(file: IO[bytes], data: mmap, limits: Limits) -> Parsed:
    """Read `TOP/data.pkl` with the storages `TOP/data/KEY`; tensors are views of the file, nothing is unpacked."""
    archive = _archive(file, data)
    top = _top_folder(archive.namelist())
    members = _members(archive, data)
    data.madvise(MADV_DONTNEED)  # memory that the checksums have touched; what is used is read again
    pickle = members[f"{top}data.pkl"]
    if len(pickle) > limits.pickle_bytes:
        rule = f"a pickle of at most {limits.pickle_bytes / 1e6:.0f} MB beside the tensors"
        raise over_limit(f"its pickle alone has {len(pickle) / 1e6:.0f} MB", rule)
    order = bytes(members.get(f"{top}byteorder", b"little")).decode("ascii", "replace")
    if order not in ("little", "big"):
        raise damaged(f"the unknown byte order {order!r}")

    def check_storage(key: str, dtype: torch.dtype, count: int) -> None:
        if (member := members.get(f"{top}data/{key}")) is None:
            raise damaged(f"its storage {key!r} is missing")
        if len(member) != count * dtype.itemsize:
            found = f"{len(member) / dtype.itemsize:g} elements"
            raise damaged(f"storage {key!r} has {found} where the pickle says {count}")

    @cache
    def storage(key: str, dtype: torch.dtype) -> torch.UntypedStorage:
        member = members[f"{top}data/{key}"]
        flat = torch.frombuffer(member, dtype=torch.uint8) if len(member) else torch.empty(0, dtype=torch.uint8)
        if order != sys.byteorder:
            cast(Any, flat.untyped_storage()).byteswap(dtype)  # which has no types
        return flat.untyped_storage()

    value = unpickled(io.BytesIO(pickle), Budget(limits, len(data)), check_storage)
    return Parsed("torch zip", *settled(value, limits, storage))


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
    if archive.comment or min((info.header_offset for info in archive.infolist()), default=0):
        raise damaged("its zip archive is not the whole file")  # another reader might take another part of it
    return archive


def _members(archive: zipfile.ZipFile, data: mmap) -> dict[str, memoryview]:
    """Return every member's bytes by name. Raises Refusal for members that are compressed, damaged or overlapping."""
    members: dict[str, memoryview] = {}
    seen: set[str] = set()
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        if info.filename.lower() in seen:  # torch's reader takes either of two names that differ in case
            raise damaged(f"two members named {info.filename[:80]!r}")
        seen.add(info.filename.lower())
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
    if any(name.startswith(("Transformer/", "embedding/kernel")) for name in members):
        remedy = "let timm read it: torch.save(timm.create_model(NAME, checkpoint_path=FILE).state_dict(), NEW_FILE)"
        return unsupported("a NumPy archive (.npz) of Google's ViTs, by the names of JAX", remedy)
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


def read_pickles(file: mmap, limits: Limits) -> Parsed:
    """Read a stream that begins with a pickle: torch's older format, or one bare pickle (as detectron2's .pkl)."""
    budget, stream = Budget(limits, len(file)), cast("IO[bytes]", file)
    first = unpickled(stream, budget)
    if type(first) is int and first == LEGACY_MAGIC:
        return _read_legacy(file, budget)
    if file.tell() != len(file):
        raise damaged("something follows its pickle: neither torch's older format nor a single pickle")
    return Parsed("pickle", *settled(first, limits))


def _read_legacy(file: mmap, budget: Budget) -> Parsed:
    """Read a version, what machine wrote it, the content, the storages' keys, then their bytes."""
    stream = cast("IO[bytes]", file)
    if unpickled(stream, budget) != LEGACY_PROTOCOL:
        raise damaged("an unknown version of torch's older format")
    unpickled(stream, budget)  # the machine that wrote it: storages are little-endian on all
    storages: dict[str, tuple[torch.dtype, int]] = {}
    claimed = 0

    def check_storage(key: str, dtype: torch.dtype, count: int) -> None:
        nonlocal claimed
        if key not in storages:
            storages[key] = (dtype, count)
            claimed += count * dtype.itemsize
        if storages[key] != (dtype, count):
            raise damaged(f"storage {key!r} is described in two ways")
        if claimed > len(file):
            raise truncated(f"before storage {key!r} of {count} elements: the storages do not fit into it")

    value, keys = unpickled(stream, budget, check_storage), unpickled(stream, budget)
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or {*keys} != {*storages}:
        raise damaged("its list of storages is not that of its tensors")
    starts = _storage_starts(file, keys, storages)

    @cache
    def storage(key: str, dtype: torch.dtype) -> torch.UntypedStorage:
        end = starts[key] + storages[key][1] * dtype.itemsize
        numbers = torch.empty(end - starts[key], dtype=torch.uint8)
        if len(numbers):  # a copy: here they may begin at odd places
            numbers.copy_(torch.frombuffer(memoryview(file)[starts[key] : end], dtype=torch.uint8))
            file.madvise(MADV_DONTNEED)
        return numbers.untyped_storage()

    return Parsed("torch legacy", *settled(value, budget.limits, storage))


def _storage_starts(file: mmap, keys: list[str], storages: dict[str, tuple[torch.dtype, int]]) -> dict[str, int]:
    """Return where the bytes of each storage begin, which follow each other after their number of elements."""
    starts, end = {}, file.tell()
    for key in keys:
        dtype, count = storages[key]
        if int.from_bytes(file[end : end + 8], "little") != count and end + 8 <= len(file):
            raise damaged(f"storage {key!r} has another size than its tensors need")
        starts[key] = end + 8
        end += 8 + count * dtype.itemsize
        if end > len(file):
            raise truncated(f"within storage {key!r}")
    return starts
