"""A published checkpoint on this machine: fetched where it is missing, and held against what its authors publish."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path

from benchmarks import ranks
from benchmarks.catalogue.checkpoints import Checkpoint, Digest
from benchmarks.data.index import cache_folder
from benchmarks.errors import WorkFailed
from benchmarks.files.atomic import make_folder, write_atomically
from benchmarks.files.json_files import read_json
from benchmarks.files.locks import locked
from benchmarks.runs.record import Published
from transfer.sources.published.download import NotFetched, download

CACHE = "MIMBENCH_CHECKPOINTS"
"""The variable that names another folder for downloaded checkpoints, as one that a cluster's nodes share."""
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables with which libraries of the field are kept from the network; set to 1, they keep this program, too."""


def place_of(checkpoint: Checkpoint) -> Path:
    """Return the path at which a checkpoint lies once it is fetched, or put there by hand."""
    folder = os.environ.get(CACHE)
    root = Path(folder) if folder else cache_folder("checkpoints")
    return root.joinpath(*checkpoint.name.split(":")) / checkpoint.file_name


def fetched(checkpoint: Checkpoint) -> tuple[Path, Published]:
    """Return the path of a checkpoint's file, downloaded where it is missing, and how it was verified.

    Processes that ask for the same file at once wait for the one that fetches it. Raises WorkFailed where it can be
    neither found nor downloaded, with the address and where to put the file by hand, and where it is not the file that
    its authors published.
    """
    path = place_of(checkpoint)
    make_folder(path.parent)
    with locked(path.with_name(f".{path.name}.lock"), patience_s=math.inf):
        new = not path.exists()
        if new:
            _download(checkpoint, path)
        return path, _verified(checkpoint, path, new)


def _download(checkpoint: Checkpoint, path: Path) -> None:
    if checkpoint.by_hand is not None:
        raise _by_hand(checkpoint, path, checkpoint.by_hand)
    for name in OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise _by_hand(checkpoint, path, f"{name} is set")
    try:
        download(checkpoint.address, path, f"fetching {checkpoint.name}", checkpoint.bytes)
    except NotFetched as error:
        raise _by_hand(checkpoint, path, str(error)) from None


def _by_hand(checkpoint: Checkpoint, path: Path, why: str) -> WorkFailed:
    return WorkFailed(
        f"{checkpoint.name} is not on this machine and was not downloaded: {why}\n"
        f"  remedy: download {checkpoint.address} (its page: {checkpoint.page}) and put it at {path}"
    )


def _verified(checkpoint: Checkpoint, path: Path, new: bool) -> Published:
    """Return how a file was verified. Raises WorkFailed for another one, which is removed if it is `new`."""
    found = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", "md5")}
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            for each in found.values():
                each.update(chunk)
    sha256, size = found["sha256"].hexdigest(), path.stat().st_size
    wrong = _mistake(checkpoint, {name: each.hexdigest() for name, each in found.items()}, size)
    kept = _kept_sha256(path)
    if wrong is None and not new and kept not in (None, sha256):
        wrong = f"its sha256 is {sha256}, and was {kept} when it was downloaded"
    if wrong is not None:
        if new:
            path.unlink()
        gone = "; it was removed" if new else ""
        again = "run the same command again" if new else f"remove {path}, and run the same command again"
        raise WorkFailed(
            f"{path} is not {checkpoint.name} as it was published: {wrong}{gone}\n"
            f"  remedy: {again}; if that does not help, {checkpoint.address} is another file now: see {checkpoint.page}"
        )
    if new:
        write_atomically(_kept(path), json.dumps({"address": checkpoint.address, "sha256": sha256}, indent=2).encode())
    use = Published(
        name=checkpoint.name,
        address=checkpoint.address,
        page=checkpoint.page,
        file_sha256=sha256,
        bytes=size,
        verified=checkpoint.digest.words if checkpoint.digest else None,
    )
    if new and ranks.is_main():
        print(f"fetched {checkpoint.name}: {path}, {use.in_words()}, licence {checkpoint.licence}")
    return use


def _mistake(checkpoint: Checkpoint, found: dict[str, str], size: int) -> str | None:
    """Return in what a file differs from what is published; None where it does not."""
    digest: Digest | None = checkpoint.digest
    if digest is not None and not found[digest.algorithm].startswith(digest.digits):
        return f"its {digest.algorithm} is {found[digest.algorithm]}, and {digest.words} should be {digest.digits}"
    if checkpoint.bytes is not None and size != checkpoint.bytes:
        return f"it has {size:,} bytes, and should have {checkpoint.bytes:,}"
    return None


def _kept(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin.json")


def _kept_sha256(path: Path) -> str | None:
    """Return the sha256 that a file had when it was downloaded; None for one that was put there by hand."""
    try:
        found = read_json(_kept(path))["sha256"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None
