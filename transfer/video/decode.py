"""Frames of a video by their number: sought by timestamp, decoded from the keyframe before, by PyAV or torchcodec."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from torch import Tensor

from transfer.video.settings import Decoder


class UnreadableVideo(Exception):
    """A video that cannot be used, as `path: reason`."""


class VideoReader(Protocol):
    """An open video. Frames are counted in the order in which they are shown, whatever their distances in time."""

    number_of_frames: int
    frames_per_second: float
    """The mean; of a single frame, what the file says."""
    duration_seconds: float

    def frames(self, indices: Sequence[int]) -> Tensor:
        """Return frames [T, C, H, W] uint8 RGB, upright, in the order of `indices`, which may repeat.

        Raises UnreadableVideo where one of them cannot be decoded.
        """
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def open_video(path: Path, decoder: Decoder = "auto") -> VideoReader:
    """Open a video. Raises UnreadableVideo, naming the file, where there is none in it."""
    return READERS[decoder](path)


def _pyav(path: Path) -> VideoReader:
    from transfer.video.pyav import PyavVideo

    return PyavVideo(path)


READERS: Mapping[Decoder, Callable[[Path], VideoReader]] = {"auto": _pyav, "pyav": _pyav}
