"""Files that survive: written to a temporary name, synced, renamed. A crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmarks.errors import UserError, WorkFailed

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_PLACE = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT, errno.ENAMETOOLONG, errno.EROFS, errno.ELOOP)


def write_atomically(path: Path, data: bytes | bytearray) -> None:
    """Replace `path` by `data`.

    Raises WorkFailed when the disk is full, UserError when `path` cannot be written; the old file is then untouched.
    """
    with written_whole(path, len(data)) as file:
        file.write(data)


@contextlib.contextmanager
def written_whole(path: Path, needed_bytes: int = 0) -> Iterator[IO[bytes]]:
    """Yield a new file, which replaces `path` when the block ends without an error.

    Any OSError in the block is taken for one of this file; `needed_bytes` is said where the disk is full. Raises what
    `write_atomically` raises.
    """
    temporary = temporary_name(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        written = temporary.stat().st_size if temporary.is_file() else 0
        with contextlib.suppress(OSError):
            temporary.unlink()  # before it is said how much is free
        raise disk_error(error, path, max(needed_bytes, written)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Return a hidden name beside `path` that nobody can predict.

    In a folder where others may write, a name that is known beforehand may be a link of theirs, and writing to it would
    overwrite what it points to. Whoever writes under this name must create it (mode `x`, mkdir), not open it.
    """
    return path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises UserError where that cannot be, WorkFailed when the disk is full."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, path, 0) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(error: OSError, path: Path, needed_bytes: int) -> Exception:
    """Return the error for a full disk, a full quota or a place that cannot be written; any other OSError as it is."""
    if isinstance(error, PermissionError):
        return _denied(path)
    if error.errno in NO_PLACE:
        rule = "a place where this program can write"
        return UserError.about(str(path), _obstacle(error, path), rule, "name another place, or change what is there")
    if error.errno not in NO_ROOM:
        return error
    there = next(folder for folder in path.absolute().parents if folder.is_dir())
    free_mb = shutil.disk_usage(there).free / 1e6
    return WorkFailed(
        f"no room to write {path}: {needed_bytes / 1e6:.1f} MB needed, {free_mb:.1f} MB free ({error.strerror})\n"
        "  Nothing that was saved before is lost.\n"
        "  remedy: free some space and run the same command again; it continues from the last checkpoint."
    )


@contextlib.contextmanager
def denials_reported() -> Iterator[None]:
    """Raise UserError, which names the owner, where the block may not read or write a file or folder."""
    try:
        yield
    except PermissionError as error:
        if error.filename is None:  # it is not about a file
            raise
        raise _denied(Path(os.fsdecode(error.filename))) from error


def _denied(path: Path) -> UserError:
    """Return the error for a place that its owner has not opened to us."""
    place = next(there for there in (path, *path.absolute().parents) if os.path.lexists(there))
    owner, what = owner_of(place), "it" if place == path else place
    rule = f"a place that you may {'write' if os.access(place, os.R_OK, effective_ids=True) else 'read'}"
    remedy = f"name another place, or have {owner} open this one (chmod)"
    return UserError.about(str(path), f"permission denied: {what} belongs to {owner}", rule, remedy)


def owner_of(path: Path) -> str:
    """Return the name of the user to whom a file belongs; `user 1234` where the system knows none."""
    number = path.lstat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _obstacle(error: OSError, path: Path) -> str:
    """Return what stands at `path`, or above it, that keeps it from being written."""
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        for place in (*reversed(path.parents), path):
            if os.path.lexists(place) and not os.path.isdir(place):
                return f"{place} is not a folder"
    if error.errno == errno.ELOOP and path.is_symlink():
        return "it is a link"
    return (error.strerror or str(error)).lower()
