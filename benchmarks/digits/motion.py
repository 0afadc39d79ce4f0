"""The embedded data set as short videos: a digit that moves over a texture, whose label is where it moves to.

train/CLASS/NAME.mp4 and val/CLASS/NAME.mp4, as Kinetics lies on disk; H.264 with B-frames. A digit that leaves the
picture comes back on the other side, and every clip begins with it anywhere: so its place is distributed alike in every
frame of every class, and a single frame says nothing of the class. Left is right played backwards, as up is down, so
that order in time has to be seen. Training clips hold the 200 labelled training scans, the others the test set's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data.fingerprint import Fingerprint, fingerprint
from benchmarks.data.found import VIDEOS, files_below
from benchmarks.digits.canvas import Tone, ink_of, pixels_of, texture
from benchmarks.digits.embedded import write_once
from benchmarks.digits.folders import labelled_scans
from benchmarks.files.atomic import make_folder, write_atomically

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
VIDEO_SIZE_PX = 32
FRAMES = 12
FRAMES_PER_SECOND = 12
TRAIN_VIDEOS, TEST_VIDEOS = 480, 120
SPLITS = ("train", "val")
MARK = "digit_motion.json"
DIGIT_SIZE_PX = (28, 32)
"""Smallest and largest side of a digit's square: about that of its own image, on which encoders are pretrained."""
FAINT = Tone((0, 40), ((4, 8),))
"""Nearly black, as the ground of a digit's own image."""


@dataclass(frozen=True)
class Motion:
    """By how much a digit moves from one frame to the next, in shares of the picture's side."""

    right: float = 0
    down: float = 0


SPEED = 1 / 26
"""The speed of all motions, times 0.8 to 1.25: once round the picture in 21 to 32 frames."""
MOTIONS = {
    "down": Motion(down=SPEED),
    "left": Motion(right=-SPEED),
    "right": Motion(right=SPEED),
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
    return fingerprint(root, files_below(root, VIDEOS), noun="video")


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

    canvas, colour = texture(draw, VIDEO_SIZE_PX, FAINT), draw.uniform(185, 255, 3)
    ink = ink_of(scan, int(draw.randint(DIGIT_SIZE_PX[0], DIGIT_SIZE_PX[1] + 1)))
    begin, speed = draw.uniform(0, 1, 2), draw.uniform(0.8, 1.25)
    change = speed * np.array([motion.down, motion.right])
    frames = []
    for time in range(FRAMES):
        drawn = _placed(ink, *(begin + time * change))[..., None]
        frames.append(canvas + drawn * (colour - canvas))
    return pixels_of(np.stack(frames))


def _placed(ink: np.ndarray, down: float, right: float) -> np.ndarray:
    """Return ink [h, w], 0 to 1, in a picture [H, W], moved from its upper left corner by shares of its side.

    What leaves the picture comes back on the other side.
    """
    import numpy as np
    from scipy.ndimage import shift

    picture = np.zeros((VIDEO_SIZE_PX, VIDEO_SIZE_PX))
    picture[: ink.shape[0], : ink.shape[1]] = ink
    moved: np.ndarray = shift(picture, (VIDEO_SIZE_PX * down, VIDEO_SIZE_PX * right), order=1, mode="grid-wrap")
    return moved


def _encoded(frames: np.ndarray) -> bytes:
    """Return an mp4 file; one thread and no dates, so that the same frames give the same bytes."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        # What libx264's lookahead finds in so small pictures differs from process to process: it is turned off.
        no_lookahead = {"rc-lookahead": "0", "mbtree": "0"}
        options = {"crf": "12", "threads": "1", "g": "12", "bf": "2", **no_lookahead}
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
