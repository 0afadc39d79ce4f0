"""Videos made for tests, with every frame's number readable from its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    frames: int = 40,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    milliseconds: Sequence[int] | None = None,
    group: int = 12,
) -> Path:
    """Write `frames` noisy pictures (width, height) at 25 per second, or at the given times; with B-frames."""
    draw = np.random.default_rng(len(path.name) + frames)
    options = {"g": str(group), "bf": "2"} if codec == "libx264" else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            picture = draw.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
            picture[: size[1] // 2, : 1 + number] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_huge_video(path: Path) -> Path:
    """Write one blank frame of 8000x8000."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 8000, 8000, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(8000, 8000, "yuv420p")))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """Write one second of silence without a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for _ in range(16):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def all_frames(path: Path) -> np.ndarray:
    """Decode everything in order, as the witness: [T, H, W, C] uint8."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
