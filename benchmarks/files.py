"""Files that survive: written to a temporary name, synced, renamed. A crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from benchmarks.errors import WorkFailed


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`. Raises WorkFailed when the disk is full; the old file is then untouched."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise disk_error(error, path, len(data)) from error


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(error: OSError, path: Path, needed_bytes: int) -> Exception:
    """Word a full disk or an exhausted quota; any other OSError is returned as it is."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    free_mb = shutil.disk_usage(path.parent).free / 1e6
    return WorkFailed(
        f"no room to write {path}: {needed_bytes / 1e6:.1f} MB needed, {free_mb:.1f} MB free ({error.strerror})\n"
        "  Nothing that was saved before is lost.\n"
        "  remedy: free some space and run the same command again; it continues from the last checkpoint."
    )
