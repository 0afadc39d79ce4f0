"""Decoding videos with torchcodec, where its libraries load: the same frames as PyAV's, in less time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from torch import Tensor

from benchmarks.files.pictures import MOST_FRAME_PIXELS, require_pixels
from benchmarks.files.regular import regular
from transfer.video.data.reader import UnreadableVideo

TEXT = frozenset(range(32, 127)) | {9, 10, 13}
HEAD_BYTES = 64


class TorchcodecVideo:
    """A video file opened with torchcodec, as a VideoReader."""

    def __init__(self, path: Path) -> None:
        from torchcodec.decoders import VideoDecoder

        self.path = path
        with self._naming():
            _refuse_text(path)
            self.decoder = VideoDecoder(str(path), num_ffmpeg_threads=1)
            metadata = self.decoder.metadata
            require_pixels(metadata.width or 0, metadata.height or 0, MOST_FRAME_PIXELS)
        stated = metadata.num_frames_from_header or 0
        if metadata.num_frames < stated:
            raise UnreadableVideo(f"{path}: truncated: {metadata.num_frames} of {stated} frames")
        self.has_display_matrix = metadata.rotation is not None
        self.number_of_frames: int = metadata.num_frames
        self.frames_per_second = float(metadata.average_fps or 0)
        self.duration_seconds = float(metadata.duration_seconds or 0)

    def frames(self, indices: Sequence[int]) -> Tensor:
        with self._naming():
            pictures: Tensor = self.decoder.get_frames_at(list(indices)).data
        return pictures

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
            raise UnreadableVideo(f"{self.path}: {reason}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self.decoder


def _refuse_text(path: Path) -> None:
    """Raise ValueError for a text, which may be a playlist: FFmpeg would open what it names, over a network too."""
    with open(regular(path), "rb") as file:
        head = file.read(HEAD_BYTES)
    if TEXT.issuperset(head):
        raise ValueError("text, or nothing, where a video belongs")


@functools.cache
def loads() -> bool:
    """Return whether torchcodec can be imported with the FFmpeg libraries that it needs."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError):  # RuntimeError: no version of FFmpeg that it knows
        return False
    return True
