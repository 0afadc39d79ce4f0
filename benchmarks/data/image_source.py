"""Where encoded images come from: files, or whatever else holds them. Light: nothing is decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from benchmarks.files.regular import regular

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ImageSource(Protocol):
    """Images in a fixed order, each readable on its own. Picklable: loader processes hold copies."""

    def __len__(self) -> int: ...

    @property
    def files(self) -> Sequence[Path]:
        """The files on disk that hold the images, for a fingerprint."""
        ...

    def name(self, position: int) -> str:
        """Return a name of the image that does not depend on where the data set lies; no two images share one."""
        ...

    def where(self, position: int) -> str:
        """Return, for messages, where on this machine the image lies."""
        ...

    def open(self, position: int) -> BinaryIO:
        """Open the encoded image, seekable; the caller closes it. Raises OSError where it cannot be read."""
        ...

    def select(self, positions: Sequence[int] | NDArray[Any]) -> ImageSource:
        """Return the images at these positions, in this order."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """One file per image, named by its path below `root`."""

    root: Path
    files: Sequence[Path]

    def __len__(self) -> int:
        return len(self.files)

    def name(self, position: int) -> str:
        from benchmarks.data.files import IndexedFiles

        if isinstance(self.files, IndexedFiles):
            return self.files.name(position, self.root)
        return self.files[position].relative_to(self.root).as_posix()

    def where(self, position: int) -> str:
        return str(self.files[position])

    def open(self, position: int) -> BinaryIO:
        return open(regular(self.files[position]), "rb")

    def select(self, positions: Sequence[int] | NDArray[Any]) -> ImageFiles:
        from benchmarks.data.files import IndexedFiles

        files = self.files
        chosen = files.select(positions) if isinstance(files, IndexedFiles) else [files[at] for at in positions]
        return ImageFiles(self.root, chosen)
