"""The files of a data set that may be opened: ordinary ones, and links to these.

A data set may come from anybody. Opening a FIFO waits for ever, and a device may have no end. A link is followed
wherever it leads, since many data sets are made of links: nothing but an image or a video is taken from its target.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

UNREADABLE = -1
"""The size of a file that is no ordinary one, or that the system does not find."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_stat(path: Path) -> os.stat_result:
    """Return what the system knows of a file, links followed; it is not opened.

    Raises OSError where there is none, and where it is a FIFO, a socket, a device or a folder.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{KINDS.get(stat.S_IFMT(found.st_mode), 'something else')} where an ordinary file belongs")
    return found


def size_and_time(measure: Callable[[], os.stat_result]) -> tuple[int, int]:
    """Return a file's size in bytes and the time of its last change in ns, as `measure` finds them.

    `measure` is the `stat` of a path or of a folder's entry. The size is UNREADABLE for what is no ordinary file; where
    there is no file, the time is 0.
    """
    try:
        found = measure()
    except OSError:
        return UNREADABLE, 0
    return (found.st_size if stat.S_ISREG(found.st_mode) else UNREADABLE), found.st_mtime_ns


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the first bytes of a file that may be opened, `most_bytes` at most. Raises what `regular_stat` raises.

    The system is asked directly: for small files Python's own buffers take half of the time.
    """
    asked = min(most_bytes, regular_stat(path).st_size + 1)
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(file, asked)
        if len(data) == asked:  # it has grown; a file that has not ends in fewer bytes than were asked for
            with os.fdopen(os.dup(file), "rb") as rest:
                data += rest.read(most_bytes - len(data))
    finally:
        os.close(file)
    return data


def regular(path: Path) -> Path:
    """Return the path of a file that may be opened. Raises what `regular_stat` raises."""
    regular_stat(path)
    return path
