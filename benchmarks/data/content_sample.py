"""A sample of files by their bytes, from which two data sets tell what share of one is in the other.

Which files are sampled follows from their sizes in bytes alone. Equal bytes have equal sizes, so up to the end of the
shorter sample a file that two data sets share is in both samples, whatever it is called; and no other file is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.config import Config, Count
from benchmarks.data.remote.paths import RemotePath
from benchmarks.files.named_files import sha256_of
from benchmarks.files.regular import regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILES_SAMPLED = 512
"""Files of further sizes are sampled until there are so many."""
MOST_SAMPLED = 4 * FILES_SAMPLED
"""Files of one size are sampled all or none: a data set whose next size has more than this ends before it."""
END = "g"
"""Behind all hexadecimal digits."""


class ContentSample(Config):
    """Files of a data set whose sizes have a hash below `until`, every one of them."""

    digests: tuple[str, ...]
    """Of each file the first digits of a hash of its size, and of the sha256 of its bytes, sorted."""
    until: str
    of: Count
    """The files of the data set."""


class Seen(NamedTuple):
    """How many of the files that both samples would hold are in both."""

    found: int
    sampled: int

    @property
    def words(self) -> str:
        return f"{self.found} of {self.sampled} sampled"


def draw(files: Sequence[Path], sizes: Sequence[int | None] | NDArray[Any]) -> ContentSample | None:
    """Return a sample of files given with their sizes in bytes; None where they are too many of one size.

    A file without a size (None, or below 0), and one that cannot be read, is in no sample.
    """
    import numpy as np

    bytes_of = sizes if isinstance(sizes, np.ndarray) else np.array([-1 if each is None else each for each in sizes])
    order = np.argsort(bytes_of, kind="stable")
    known, starts, counts = np.unique(bytes_of[order], return_index=True, return_counts=True)
    digests: list[str] = []
    until = END
    keys = ((hashlib.sha256(str(size).encode()).hexdigest()[:8], size, at) for at, size in enumerate(known.tolist()))
    for key, _, at in sorted(each for each in keys if each[1] >= 0):
        if len(digests) >= FILES_SAMPLED or counts[at] > MOST_SAMPLED:
            until = key
            break
        alike = [files[position] for position in order[starts[at] : starts[at] + counts[at]].tolist()]
        digests += [f"{key}{sha256[:12]}" for file in alike if (sha256 := content_sha256(file)) is not None]
    return ContentSample(digests=tuple(sorted(digests)), until=until, of=len(files)) if digests else None


def share_seen(test: ContentSample, trained: ContentSample) -> Seen:
    """Return how many of a test set's files, of those that would be in the other sample too, are in it."""
    until = min(test.until, trained.until)
    comparable = [digest for digest in test.digests if digest < until]
    known = set(trained.digests)
    return Seen(sum(digest in known for digest in comparable), len(comparable))


def content_sha256(file: Path) -> str | None:
    """Return the sha256 (hex) of an ordinary file's bytes; None for one that cannot be read."""
    if isinstance(file, RemotePath):
        from benchmarks.data.remote.kept import sha256_of_remote

        return sha256_of_remote(file)
    try:
        return sha256_of(regular(file))
    except OSError:
        return None
