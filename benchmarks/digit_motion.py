"""The embedded data set as short videos: one moving digit on a texture, whose label is how it moves.

train/CLASS/NAME.mp4 and val/CLASS/NAME.mp4, as Kinetics lies on disk; H.264 with B-frames. A digit that leaves the
picture comes back on the other side, a size that reaches its limit begins again at the other one, and every clip begins
anywhere in its cycle: so place, angle and size are distributed alike in every frame of every class, and a single frame
tells nothing of the class. Training clips hold the 200 labelled training scans, the others those of the test set.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.digit_canvas import ink_of, pixels_of, texture
from benchmarks.digits import labelled_scans
from benchmarks.embedded import write_once
from benchmarks.files import make_folder, write_atomically
from benchmarks.fingerprint import Fingerprint, find_videos, fingerprint

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
VIDEO_SIZE_PX = 48
FRAMES = 24
FRAMES_PER_SECOND = 12
TRAIN_VIDEOS, TEST_VIDEOS = 320, 80
SPLITS = ("train", "val")
MARK = "digit_motion.json"
DIGIT_SIZE_PX = (18, 36)
"""Smallest and largest side of a digit's square."""


@dataclass(frozen=True)
class Motion:
    """What changes from one frame to the next, in shares of a cycle: of the picture's side, a turn, all sizes."""

    right: float = 0
    down: float = 0
    clockwise: float = 0
    growth: float = 0


SPEED = 1 / 32
"""Of all motions, times 0.8 to 1.25: a cycle in 26 to 40 frames."""
MOTIONS = {
    "clockwise": Motion(clockwise=SPEED),
    "counterclockwise": Motion(clockwise=-SPEED),
    "down": Motion(down=SPEED),
    "grow": Motion(growth=SPEED),
    "left": Motion(right=-SPEED),
    "right": Motion(right=SPEED),
    "shrink": Motion(growth=-SPEED),
    "up": Motion(down=-SPEED),
}


@dataclass(frozen=True)
class Clip:
    """Frames [T, H, W, 3] uint8 of one motion."""

    motion: str
    frames: np.ndarray


def write_digit_motion(root: Path) -> str:
    """Write the videos below `root` unless they are there and whole; return their fingerprint.

    Frames are the same everywhere; the bytes of the files, and so the fingerprint, are those of one version of PyAV.
    Raises as `write_digits` does.
    """
    return write_once(root, MARK, VERSION, SPLITS, _write, _fingerprint)


def _fingerprint(root: Path) -> Fingerprint:
    return fingerprint(root, find_videos(root), noun="video")


def _write(root: Path) -> None:
    for split, source, count in (("train", "train", TRAIN_VIDEOS), ("val", "test", TEST_VIDEOS)):
        for number, clip in enumerate(clips(source, count)):
            path = root / split / clip.motion / f"{number:04d}.mp4"
            make_folder(path.parent)
            write_atomically(path, _encoded(clip.frames))


def clips(split: str, count: int) -> Iterator[Clip]:
    """Yield `count` clips of the scans of the split `train` or `test`, one motion after the other."""
    import numpy as np

    scans = [scan for _, scan in labelled_scans(split)]
    # RandomState, not Generator: its numbers are promised to stay the same in every NumPy.
    draw = np.random.RandomState(30 + len(scans))
    order = np.concatenate([draw.permutation(len(scans)) for _ in range(1 + count // len(scans))])
    for number in range(count):
        name = tuple(MOTIONS)[number % len(MOTIONS)]
        yield Clip(name, _frames(scans[order[number]], MOTIONS[name], draw))


def _frames(scan: np.ndarray, motion: Motion, draw: np.random.RandomState) -> np.ndarray:
    """Return the frames [T, H, W, 3] uint8 of a scan [8, 8] uint8 in motion."""
    import numpy as np

    canvas, colour, ink = texture(draw, VIDEO_SIZE_PX), draw.uniform(0, 70, 3), ink_of(scan, VIDEO_SIZE_PX)
    begin, speed = draw.uniform(0, 1, 4), draw.uniform(0.8, 1.25)
    change = speed * np.array([motion.right, motion.down, motion.clockwise, motion.growth])
    frames = []
    for time in range(FRAMES):
        right, down, turn, growth = (begin + time * change) % 1
        least, most = DIGIT_SIZE_PX
        drawn = _placed(ink, least * (most / least) ** growth, turn, right, down)[..., None]
        frames.append(canvas + drawn * (colour - canvas))
    return pixels_of(np.stack(frames))


def _placed(ink: np.ndarray, size: float, turn: float, right: float, down: float) -> np.ndarray:
    """Return ink [H, W], 0 to 1, of a side of `size` pixels, turned clockwise, its centre moved round the picture."""
    import numpy as np
    from PIL import Image

    across, along = VIDEO_SIZE_PX * right, VIDEO_SIZE_PX * down
    (columns, x), (rows, y) = (divmod(shift, 1) for shift in (across, along))
    angle, scale, middle = 2 * np.pi * turn, VIDEO_SIZE_PX / size, VIDEO_SIZE_PX / 2
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    # PIL asks where in the source each pixel comes from.
    place = (cos, sin, middle - cos * (middle + x) - sin * (middle + y))
    level = (-sin, cos, middle + sin * (middle + x) - cos * (middle + y))
    picture = Image.fromarray(ink.astype(np.float32))
    drawn = picture.transform(picture.size, Image.Transform.AFFINE, place + level, Image.Resampling.BILINEAR)
    return np.roll(np.asarray(drawn, np.float64), (int(rows), int(columns)), (0, 1))


def _encoded(frames: np.ndarray) -> bytes:
    """Return an mp4 file; one thread and no dates, so that the same frames give the same bytes."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        options = {"crf": "12", "threads": "1", "g": "12", "bf": "2"}
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
