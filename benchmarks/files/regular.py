"""The files of a data set that may be opened: ordinary ones, and links to these.

A data set may come from anybody. Opening a FIFO waits for ever, and a device may have no end. A link is followed
wherever it leads, since many data sets are made of links: nothing but an image or a video is taken from its target.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

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


def regular(path: Path) -> Path:
    """Return the path of a file that may be opened. Raises what `regular_stat` raises."""
    regular_stat(path)
    return path
