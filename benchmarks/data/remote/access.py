"""Reading what lies elsewhere through fsspec, with patience: a fault that may pass is tried again, and then named.

A loader's processes are forked. fsspec makes its connections anew in each, as long as they are asked for at every call.
"""

from __future__ import annotations

import contextlib
import functools
import io
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks.data.remote.paths import WEB, RemotePath
from benchmarks.errors import MachineFailed, UserError, WorkFailed
from benchmarks.files.atomic import NO_ROOM, disk_error

ATTEMPTS = 6
FIRST_WAIT_S = 0.5
"""Before the second attempt; twice as long before every further one, 15 s in all."""
SILENT_S = 60
"""How long a server may say nothing."""
TAGS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_hash",
    "blob_id",
    "LastModified",
    "Last-Modified",
    "last_modified",
    "created",
)
"""What file systems of fsspec call that by which contents are known to be the same."""
MAY_PASS = (408, 425, 429)
WRONG_PLACE = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
WRONG_SETTINGS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "ParamValidationError")
"""What botocore, which reads S3, calls settings with which no request can be made: it is not imported here."""
BLOCK_BYTES = 2**22
T = TypeVar("T")


class State(NamedTuple):
    """What is known of a remote file without reading it."""

    size_bytes: int
    tag: str
    ranges: bool
    """Whether a part of it can be read."""


class _Short(OSError):
    """Fewer bytes came than were asked for."""


@functools.lru_cache(maxsize=2**17)
def state_of(path: RemotePath) -> State:
    """Return size and tag of a file, as this process first found them. Raises UserError where there is none."""
    found = _patiently(path, lambda files: files.info(str(path)))
    size = found.get("size")
    if size is None or found.get("type") == "directory":
        rule = "a file whose size the server states"
        raise UserError.about("shard", str(path), rule, "copy the shards to another server, or to this machine")
    tag = next((str(found[name]) for name in TAGS if found.get(name)), "")
    return State(int(size), tag, path.protocol not in WEB or _patiently(path, functools.partial(_gives_ranges, path)))


def _gives_ranges(path: RemotePath, files: Any) -> bool:
    """Ask a web server for the first byte, and hang up."""
    stream = files.open(str(path), "rb", block_size=0, headers={"Range": "bytes=0-0"})
    with contextlib.closing(stream):
        return bool(stream.r.status == 206)


def read(path: RemotePath, first: int, size: int) -> bytes:
    """Return the bytes of a part of a file that the server gives in parts."""

    def part(files: Any) -> bytes:
        found: bytes = files.cat_file(str(path), start=first, end=first + size)
        if len(found) < size:
            raise _Short(f"{len(found)} of {size} bytes came")
        if len(found) > size:
            raise WorkFailed(f"{path}: the server sent {len(found)} bytes where {size} were asked for")
        return found

    return _patiently(path, part) if size else b""


def copy(path: RemotePath, to: Path, state: State) -> None:
    """Copy a whole file to a new one here. Raises WorkFailed when the disk is full, and where the file changed."""

    def whole(files: Any) -> None:
        try:
            files.get_file(str(path), str(to))
        except OSError as error:
            if error.errno in NO_ROOM:
                raise disk_error(error, to, state.size_bytes) from error
            raise
        if (size := to.stat().st_size) < state.size_bytes:
            raise _Short(f"{size} of {state.size_bytes} bytes came")

    _patiently(path, whole)
    now = _patiently(path, lambda files: files.info(str(path)))
    tag = next((str(now[name]) for name in TAGS if now.get(name)), "")
    if (to.stat().st_size, tag) != (state.size_bytes, state.tag):
        raise WorkFailed(f"{path} was changed while it was read; the same command reads it anew")


def listed(pattern: RemotePath) -> list[RemotePath]:
    """Return the files that a pattern with wildcards names, sorted."""
    found: Sequence[str] = _patiently(pattern, lambda files: files.glob(str(pattern)))
    protocol = f"{pattern.protocol}://"
    names = (name if name.startswith(protocol) else protocol + name.lstrip("/") for name in map(str, found))
    return sorted(RemotePath(name) for name in names)


class Ranged(io.RawIOBase):
    """A remote file that is read in blocks, the last of which is kept: for reading headers one after the other."""

    def __init__(self, path: RemotePath, size: int) -> None:
        self._path, self._size, self._at = path, size, 0
        self._block, self._first = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        inner = self._at - self._first
        if not 0 <= inner < len(self._block):
            self._first, inner = self._at, 0
            self._block = read(self._path, self._at, min(BLOCK_BYTES, self._size - self._at))
        found = self._block[inner : inner + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def _filesystem(path: RemotePath) -> Any:
    """Return fsspec's file system of an address. Raises UserError where it, or what it needs, is not installed."""
    import fsspec

    given: dict[str, Any] = {}
    try:
        if path.protocol in WEB:
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENT_S, sock_read=SILENT_S)
            given["client_kwargs"] = {
                "timeout": timeout,
                **fsspec.config.conf.get(path.protocol, {}).get("client_kwargs", {}),
            }
        return fsspec.filesystem(path.protocol, **given)
    except ImportError as error:
        rule = f"read with what is installed ({error})"
        remedy = "pip install 'mimbench[remote]' for https://, 'mimbench[s3]' for s3://"
    except ValueError:
        rule, remedy = "an address that fsspec knows: s3://, hf://, https://, gs://, ...", "correct data.root"
    raise UserError.about("data.root", str(path), rule, remedy)


def _patiently(path: RemotePath, call: Callable[[Any], T]) -> T:
    """Return what `call` makes of the file system; what may pass is waited for.

    Raises UserError for an address at which there is nothing, or nothing for us, and MachineFailed when time is up.
    Messages of libraries are not shown: they may hold the signed address to which a server leads on.
    """
    files = _filesystem(path)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call(files)
        except (UserError, WorkFailed):
            raise
        except Exception as error:
            # fsspec says of whatever went wrong on the web that there is no such file; what it was is the cause.
            cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
            status, name = _status(cause), type(cause).__name__
            reason = f"HTTP {status}" if status else str(cause) if isinstance(cause, _Short) else name
            refused = status is not None and 400 <= status < 500 and status not in MAY_PASS
            if refused or isinstance(cause, WRONG_PLACE) or name in WRONG_SETTINGS:
                raise _wrong(path, reason) from None
            if attempt == ATTEMPTS:
                break
            wait = FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.8, 1.2)
            print(f"{path}: {reason}; again in {wait:.1f} s", file=sys.stderr, flush=True)
            time.sleep(wait)
    raise MachineFailed(
        f"{path} cannot be read: {reason}, {ATTEMPTS} times\n"
        "  remedy: the same command goes on once the network and the server answer again"
    )


def _status(error: BaseException) -> int | None:
    """Return the status of HTTP that an error of aiohttp or of botocore has; None where it has none."""
    answer: Any = getattr(error, "response", None)
    about = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    status = about.get("HTTPStatusCode") or getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _wrong(path: RemotePath, reason: str) -> UserError:
    rule = "a file that is there and may be read"
    return UserError.about(
        "data.root", f"{path} ({reason})", rule, "check address and split, and the credentials for it"
    )
