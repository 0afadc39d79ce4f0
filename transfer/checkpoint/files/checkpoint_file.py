"""Open any checkpoint by what it contains, never by its name, and run nothing that it names."""

from __future__ import annotations

import hashlib
import mmap
import stat
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from benchmarks.errors import UserError
from transfer.checkpoint.files.parsed import Parsed
from transfer.checkpoint.files.recognise import HEAD_BYTES, is_json, is_pickle, is_zip, not_a_checkpoint
from transfer.checkpoint.files.safetensors_file import is_safetensors, read_safetensors
from transfer.checkpoint.files.shards import Index, merge, read_index
from transfer.checkpoint.files.shares import refuse_folder, refuse_share
from transfer.checkpoint.files.torch_file import read_pickles, read_torch_zip
from transfer.checkpoint.refusal import READABLE, Limits, Refusal, over_limit, unsupported

# Hugging Face's file names, in the order in which its own libraries prefer them.
_BY_CONVENTION = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

__all__ = ["CheckpointFile", "Limits", "read_checkpoint_file"]


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint as it lies on disk: plain data and tensors, with stubs in place of unknown classes."""

    path: Path
    """The file itself; for shards, their index."""
    container: str
    """`torch zip`, `torch legacy`, `pickle`, `safetensors`, `sharded safetensors` or `sharded torch`."""
    content: object = field(repr=False)
    """Nested dicts, lists, tuples, sets, scalars, tensors and `Inert` stubs. Tensors may be views of the file: a change
    to one stays in memory, and the file must not be rewritten in place while they are used."""
    inert: tuple[str, ...]
    """Names of the classes that were replaced by stubs, sorted."""
    parts: tuple[Path, ...] = ()
    """The shards, where the file is their index, in the order of their names."""

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the file's bytes; for shards, of the index followed by the shards. It takes a pass over all."""
        digest = hashlib.sha256()
        for path in (self.path, *self.parts):
            with _open(path) as file:
                _digest(file, digest)
        return digest.hexdigest()


def read_checkpoint_file(path: Path, limits: Limits = Limits()) -> CheckpointFile:
    """Read a file, an index of shards, or a folder that holds one checkpoint.

    Raises UserError for everything else, saying what was found and what to do.
    """
    try:
        chosen = _only_checkpoint(path, limits) if path.is_dir() else path
        refuse_share(chosen)
        with _open(chosen) as file:
            index = read_index(file, limits)
            parsed = _parse(file, limits) if index is None else _read_shards(chosen, index, limits)
    except Refusal as refusal:
        raise refusal.about(path) from None
    except OSError as error:
        denied = isinstance(error, PermissionError)
        remedy = "ask its owner for the right to read it (chmod a+r)" if denied else "check the path"
        found = f"{error.filename or path}: {error.strerror or error}"
        raise UserError.about("checkpoint", found, "a file that exists and may be read", remedy) from None
    parts = tuple(chosen.with_name(name) for name in index.shards) if index else ()
    return CheckpointFile(chosen, parsed.container, parsed.content, tuple(sorted(parsed.inert)), parts)


def _parse(file: BinaryIO, limits: Limits) -> Parsed:
    """Read one file whole. Raises Refusal."""
    head = _head(file)
    size = file.seek(0, 2)
    if size == 0:
        raise unsupported("an empty file", "fetch it again: the download or the copy wrote nothing")
    if size > limits.file_bytes:
        raise over_limit(f"{size / 1e9:.1f} GB", f"a file of at most {limits.file_bytes / 1e9:.1f} GB")
    if not (is_zip(head) or is_safetensors(head) or is_pickle(head)):
        raise not_a_checkpoint(head)
    if is_safetensors(head):
        return read_safetensors(file, size, limits)
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # tensors may be views of it, and be changed
    return read_torch_zip(file, data, limits) if is_zip(head) else read_pickles(data, limits)


def _read_shards(path: Path, index: Index, limits: Limits) -> Parsed:
    missing = [name for name in index.shards if not path.with_name(name).is_file()]
    if missing:
        finding = f"missing shards: {', '.join(missing[:5])} ({len(missing)} of {len(index.shards)})"
        raise Refusal(finding, "every shard of the index lies beside it", "fetch them into the same folder")
    parts: dict[str, Parsed] = {}
    for name in index.shards:
        with _open(path.with_name(name)) as shard:
            try:
                parts[name] = _parse(shard, limits)
            except Refusal as refusal:
                raise Refusal(f"shard {name}: {refusal.finding}", refusal.rule, refusal.remedy) from None
    return merge(index, parts)


def _only_checkpoint(folder: Path, limits: Limits) -> Path:
    """Return the checkpoint of a folder: the one named by convention, else its index of shards, else the only one."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    indexes, single = [], []
    for path in files:
        with _open(path) as file:
            head = _head(file)
            if is_json(head) and path.stat().st_size <= limits.header_bytes and _is_index(file, limits):
                indexes.append(path)
            elif is_zip(head) or is_safetensors(head) or is_pickle(head):
                single.append(path)
    found = indexes or single
    named = {path.name: path for path in (*indexes, *single)}
    by_convention = [named[name] for name in _BY_CONVENTION if name in named]
    if not by_convention:
        refuse_folder(folder)
    if by_convention or len(found) == 1:
        return (by_convention or found)[0]
    if not found:
        remedy = f"give the checkpoint's path; this folder holds {', '.join(p.name for p in files[:5]) or 'no files'}"
        raise Refusal("a folder without a checkpoint", READABLE, remedy)
    shown = ", ".join(path.name for path in found[:8])
    raise Refusal(
        f"a folder with {len(found)} checkpoints: {shown}", "a folder with exactly one", "give the file itself"
    )


def _is_index(file: BinaryIO, limits: Limits) -> bool:
    try:
        return read_index(file, limits) is not None
    except Refusal:
        return False


def _open(path: Path) -> BinaryIO:
    """Open a regular file; a pipe or a device would hang or never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise unsupported("neither a file nor a folder", "give the path of the checkpoint")
    return open(path, "rb")


def _head(file: BinaryIO) -> bytes:
    return _rewound(file).read(HEAD_BYTES)


def _digest(file: BinaryIO, digest: hashlib._Hash) -> None:
    """Carry a digest on with the whole file."""
    while block := file.read(1 << 20):
        digest.update(block)


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file
