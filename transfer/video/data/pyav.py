"""Decoding videos with PyAV in one thread: the packets give a timeline, by which few frames need to be decoded."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
import torch
from av.stream import Disposition
from torch import Tensor

from benchmarks.files.pictures import MOST_FRAME_PIXELS, require_pixels
from benchmarks.files.regular import regular
from transfer.video.data.reader import UnreadableVideo

CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,3gp"
BOUND = {"max_pixels": str(MOST_FRAME_PIXELS)}
"""For decoders: the size of a stream's frames may change on the way."""
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS, **BOUND}
"""A text file may be a playlist for FFmpeg: without these it would open what is named there, over a network too."""


@dataclass(frozen=True)
class Timeline:
    """When each frame is shown, in ticks and ascending, and at which of these times decoding can begin."""

    ticks: list[int]
    keyframes: list[int]
    timed: bool = True
    """False where the container holds no timestamps (AVI with B-frames): then ticks merely count frames."""


class PyavVideo:
    """A video file opened with PyAV, as a VideoReader."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._naming():
            self.container = av.open(str(regular(self.path)), options=dict(OPTIONS))
        try:
            with self._naming():
                self.stream = self._stream()
                self.timeline = self._timeline()
        except UnreadableVideo:
            self.container.close()
            raise
        self.playing: Iterator[av.VideoFrame] = iter(())
        self.at = self.timeline.ticks[-1]
        """The tick of the last decoded frame."""
        ticks, base = self.timeline.ticks, self.stream.time_base
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.number_of_frames = len(ticks)
        if self.timeline.timed and len(ticks) > 1 and base:
            self.frames_per_second = (len(ticks) - 1) / float((ticks[-1] - ticks[0]) * base)
        else:
            self.frames_per_second = float(rate or 0)
        self.duration_seconds = len(ticks) / self.frames_per_second if self.frames_per_second else 0.0

    def _stream(self) -> av.VideoStream:
        """Return the first video stream that is no cover, decoded in one thread: for a clip, several take longer."""
        for stream in self.container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                if stream.codec_context is None:
                    raise UnreadableVideo(f"{self.path}: no decoder for its codec")
                stream.codec_context.thread_count = 1
                stream.codec_context.options = dict(BOUND)
                self._require_size(stream)
                return stream
        raise UnreadableVideo(f"{self.path}: no video stream{' (audio only)' * bool(self.container.streams.audio)}")

    def _require_size(self, stream: av.VideoStream) -> None:
        """Raise for frames of too many pixels; FFmpeg, which has the same bound, may have left them without a size."""
        if not stream.width:
            raise UnreadableVideo(f"{self.path}: frames of no known size, or of more than {MOST_FRAME_PIXELS:,} pixels")
        require_pixels(stream.width, stream.height, MOST_FRAME_PIXELS)

    def _timeline(self) -> Timeline:
        packets = [packet for packet in self.container.demux(self.stream) if packet.size]
        if len(packets) < self.stream.frames:
            raise UnreadableVideo(f"{self.path}: truncated: {len(packets)} of {self.stream.frames} frames")
        shown = [packet for packet in packets if not packet.is_discard]
        if not shown:
            raise UnreadableVideo(f"{self.path}: no frames")
        ticks = sorted(packet.pts for packet in shown if packet.pts is not None)
        if len(set(ticks)) < len(shown):
            return Timeline(list(range(len(shown))), [0], timed=False)
        keyframes = sorted(packet.pts for packet in packets if packet.is_keyframe and packet.pts is not None)
        return Timeline(ticks, keyframes or ticks[:1])

    def frames(self, indices: Sequence[int]) -> Tensor:
        with self._naming():
            found = {index: self._found(index) for index in sorted(set(indices))}
            pictures = np.stack([found[index] for index in indices])  # ValueError: pictures of several sizes
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def _found(self, index: int) -> np.ndarray:
        """Return one frame; decoded from the video's start where decoding from the keyframe before it fails."""
        if not self._is_near(index):
            self._seek(index)
        if (picture := self._play_to(index)) is None:
            self._rewind()
            picture = self._play_to(index)
        if picture is None:
            seconds = index / self.frames_per_second if self.frames_per_second else 0.0
            raise UnreadableVideo(f"{self.path}: frame {index} (at about {seconds:.2f} s) is damaged or missing")
        return picture

    def _is_near(self, index: int) -> bool:
        """Return whether decoding further reaches this frame with no more than one keyframe on the way."""
        shown = bisect_right(self.timeline.ticks, self.at) - 1
        return shown < index and (not self.timeline.timed or self._group(index) - self._group(max(shown, 0)) <= 1)

    def _group(self, index: int) -> int:
        """Return the number of the group of pictures that this frame is in; 0 also before the first keyframe."""
        return max(0, bisect_right(self.timeline.keyframes, self.timeline.ticks[index]) - 1)

    def _play_to(self, index: int) -> np.ndarray | None:
        """Decode up to this frame and return it; None where it is damaged or does not come."""
        tick = self.timeline.ticks[index]
        for frame in self.playing:
            self.at = self.at + 1 if not self.timeline.timed else frame.pts if frame.pts is not None else self.at
            if self.at >= tick:
                return _picture(frame) if self.at == tick and not frame.is_corrupt else None
        return None

    def _seek(self, index: int) -> None:
        if not self.timeline.timed:
            return self._rewind()
        self.container.seek(self.timeline.keyframes[self._group(index)], stream=self.stream)
        return self._play()

    def _rewind(self) -> None:
        """Begin anew by opening the file again, which works also where a container cannot seek or lacks a keyframe."""
        self.container.close()
        self.container = av.open(str(regular(self.path)), options=dict(OPTIONS))
        self.stream = self._stream()
        self._play()

    def _play(self) -> None:
        self.at = -1 if not self.timeline.timed else self.timeline.ticks[0] - 1
        self.playing = (frame for packet in self.container.demux(self.stream) for frame in self.stream.decode(packet))

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn errors of FFmpeg and reading into UnreadableVideo; PyAV's IndexError is of a stream that comes late."""
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UnreadableVideo(f"{self.path}: {reason}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A frame holds threads: freed only later, by the collector of a forked loader process, they would hang it.
        self.playing = iter(())
        self.container.close()


def _picture(frame: av.VideoFrame) -> np.ndarray:
    """Return a frame [H, W, C] uint8 RGB, rotated and mirrored as its display matrix says."""
    picture = frame.to_ndarray(format="rgb24", threads=1)  # else every frame starts as many as there are CPUs
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return picture if matrix is None else upright(picture, np.frombuffer(matrix, np.int32).reshape(3, 3))


def upright(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a picture [H, W, C] as a display matrix [3, 3] shows it, turned by the nearest multiple of 90 degrees.

    A pixel at (x, y) is shown at (x, y, 1) times the matrix (ISO/IEC 14496-12, track header box).
    """
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, (across, down) = picture.swapaxes(0, 1), (c, b)
    else:
        across, down = a, d
    return picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
