"""Videos by PyAV: a timeline from the packets, then no more than the needed frames decoded, in one thread."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import av
import numpy as np
import torch
from av.stream import Disposition
from torch import Tensor

from transfer.video.decode import UnreadableVideo

CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,3gp"
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
"""A text file may be a playlist for FFmpeg: without these it would open what is named there, over a network too."""


@dataclass(frozen=True)
class Timeline:
    """When each frame is shown, in ticks, ascending; and at which of these times decoding can begin."""

    ticks: list[int]
    keyframes: list[int]
    timed: bool = True
    """False where the container holds no timestamps (AVI with B-frames): then ticks merely count frames."""


class PyavVideo:
    """An open video file; a VideoReader."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._naming():
            self.container = av.open(str(self.path), options=dict(OPTIONS))
        try:
            with self._naming():
                self.stream = self._stream()
                self.timeline = self._timeline()
        except UnreadableVideo:
            self.container.close()
            raise
        ticks, base = self.timeline.ticks, self.stream.time_base
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.number_of_frames = len(ticks)
        if self.timeline.timed and len(ticks) > 1 and base:
            self.frames_per_second = (len(ticks) - 1) / float((ticks[-1] - ticks[0]) * base)
        else:
            self.frames_per_second = float(rate or 0)
        self.duration_seconds = len(ticks) / self.frames_per_second if self.frames_per_second else 0.0

    def _stream(self) -> av.VideoStream:
        """Return the first moving picture (not a cover), decoded in one thread: for a clip, more cost more."""
        for stream in self.container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                stream.codec_context.thread_count = 1
                return stream
        raise UnreadableVideo(f"{self.path}: no video stream{' (audio only)' * bool(self.container.streams.audio)}")

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
        """Return frames [T, C, H, W] uint8 RGB, upright, in the order of `indices`, which may repeat.

        Raises UnreadableVideo where one of them cannot be decoded.
        """
        found: dict[int, np.ndarray] = {}
        with self._naming():
            for run in self._runs(sorted(set(indices))):
                found |= self._decoded(run)
            if len({picture.shape for picture in found.values()}) > 1:
                raise UnreadableVideo(f"{self.path}: its pictures change their size")
        pictures = np.stack([found[index] for index in indices])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def _runs(self, indices: list[int]) -> Iterator[list[int]]:
        """Split ascending indices where at least one whole group of pictures lies between two of them."""
        run: list[int] = []
        for index in indices:
            if run and self._group(index) - self._group(run[-1]) > 1:
                yield run
                run = []
            run.append(index)
        yield run

    def _group(self, index: int) -> int:
        """Return the number of the group of pictures that this frame is in; 0 also before the first keyframe."""
        return max(0, bisect_right(self.timeline.keyframes, self.timeline.ticks[index]) - 1)

    def _decoded(self, run: list[int]) -> dict[int, np.ndarray]:
        """Decode a run of ascending indices, again from the video's start where its keyframe does not lead to all."""
        if self.timeline.timed:
            self.container.seek(self.timeline.keyframes[self._group(run[0])], stream=self.stream)
            found = self._read(run)
            if len(found) == len(run):
                return found
        self.container.close()
        self.container = av.open(str(self.path), options=dict(OPTIONS))
        self.stream = self._stream()
        found = self._read(run)
        if len(found) == len(run):
            return found
        lost = next(index for index in run if index not in found)
        seconds = lost / self.frames_per_second
        raise UnreadableVideo(f"{self.path}: frame {lost} (at about {seconds:.2f} s) is damaged or missing")

    def _read(self, run: list[int]) -> dict[int, np.ndarray]:
        """Decode from here until the last frame of the run was seen; damaged frames are left out."""
        wanted = {self.timeline.ticks[index]: index for index in run}
        found: dict[int, np.ndarray] = {}
        for count, frame in enumerate(self._decoded_frames()):
            tick = frame.pts if self.timeline.timed else count
            if tick in wanted and not frame.is_corrupt:
                found[wanted[tick]] = _picture(frame)
            if tick is not None and tick >= self.timeline.ticks[run[-1]]:
                break
        return found

    def _decoded_frames(self) -> Iterator[av.VideoFrame]:
        for packet in self.container.demux(self.stream):
            yield from self.stream.decode(packet)

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Turn what FFmpeg reports into UnreadableVideo."""
        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UnreadableVideo(f"{self.path}: {reason}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()


def _picture(frame: av.VideoFrame) -> np.ndarray:
    """Return a frame [H, W, C] uint8 RGB, turned as its display matrix says."""
    picture = frame.to_ndarray(format="rgb24")
    return np.rot90(picture, k=frame.rotation // 90) if frame.rotation else picture
