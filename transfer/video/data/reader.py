"""What every decoder provides: an open video whose frames are asked for by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Self

from torch import Tensor

from benchmarks.engine.samples.unreadable import UnusableError


class UnreadableVideo(UnusableError):
    """A video that cannot be used, as `path: reason`."""


class VideoReader(Protocol):
    """An open video. Frames are counted in the order in which they are shown, whatever their distances in time."""

    number_of_frames: int
    frames_per_second: float
    """The mean over the video; for a video of a single frame, what the file says."""
    duration_seconds: float

    def frames(self, indices: Sequence[int]) -> Tensor:
        """Return frames [T, C, H, W] uint8 RGB, upright, in the order of `indices`, which may repeat.

        Raises UnreadableVideo where one of them cannot be decoded. A long video may be read in parts: in ascending
        order, each part goes on where the one before ended.
        """
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


Reader = Callable[[Path], VideoReader]
"""Opens a video. Raises UnreadableVideo, naming the file, where it holds no video that can be read."""
