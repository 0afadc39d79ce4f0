"""Frames by number equal those of a full decode; what is no whole video is named."""

from __future__ import annotations

import os
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import UserError
from tests.support.special_files import never_waiting, put, special_files
from tests.transfer.video.videos import all_frames, write_huge_video, write_sound, write_video
from transfer.video.data import torchcodec
from transfer.video.data.decode import by_torchcodec, reader_of
from transfer.video.data.pyav import PyavVideo
from transfer.video.data.reader import Reader, UnreadableVideo

READERS = [
    PyavVideo,
    pytest.param(
        by_torchcodec,
        marks=pytest.mark.skipif(
            not torchcodec.loads() and os.environ.get("CI") != "true",
            reason="needs torchcodec, which the `test` extra installs, and FFmpeg's libraries: sudo apt install ffmpeg",
        ),
    ),
]
UNEVEN = np.cumsum(np.random.default_rng(1).integers(1, 90, 40)).tolist()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("even.mp4", {}),
        ("long_groups.mkv", {"group": 250}),
        ("uneven.mp4", {"milliseconds": UNEVEN}),
        ("odd_sizes.mp4", {"size": (66, 46)}),
        ("mpeg4.avi", {"codec": "mpeg4"}),
        ("transport.ts", {}),
    ],
)
def test_any_frames_equal_those_of_a_full_decode(reader: Reader, name: str, how: dict, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, **how)
    whole, draw = all_frames(path), random.Random(0)
    assert len(whole) == 40
    with reader(path) as video:
        assert video.number_of_frames == 40
        for _ in range(25):
            wanted = draw.choices(range(40), k=draw.randint(1, 6))
            assert (video.frames(wanted).permute(0, 2, 3, 1).numpy() == whole[wanted]).all(), wanted
        assert video.duration_seconds == pytest.approx(40 / video.frames_per_second, rel=0.05)
        if name != "uneven.mp4":
            assert video.frames_per_second == pytest.approx(25)


MATRICES = {
    "as it is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (-1, 0, 0, -1),
    "upside down, mirrored": (1, 0, 0, -1),
    "clockwise": (0, 1, -1, 0),
    "clockwise, mirrored": (0, 1, 1, 0),
    "counterclockwise": (0, -1, 1, 0),
    "counterclockwise, mirrored": (0, -1, -1, 0),
}
"""The numbers a, b, c, d of a display matrix: a pixel at (x, y) is shown at (ax + cy, bx + dy)."""


def shown(pictures: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Move every pixel of [T, H, W, C] by itself to where a display matrix shows it."""
    y, x = np.mgrid[: pictures.shape[1], : pictures.shape[2]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    moved = np.zeros((len(pictures), down.max() + 1, across.max() + 1, 3), np.uint8)
    moved[:, down, across] = pictures
    return moved


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_video_is_shown_by_its_display_matrix(reader: Reader, matrix: str, tmp_path: Path) -> None:
    path, (a, b, c, d) = write_video(tmp_path / "turned.mp4"), MATRICES[matrix]
    stored, content = all_frames(path)[[0, 30]], bytearray(path.read_bytes())
    begin = content.index(b"tkhd") + 44  # ISO/IEC 14496-12, version 0 of the track header box
    one = 1 << 16
    content[begin : begin + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    with reader(path) as video:
        frames = video.frames([0, 30]).permute(0, 2, 3, 1).numpy()
    assert (frames == shown(stored, a, b, c, d)).all()


def test_a_closed_video_leaves_no_threads(tmp_path: Path) -> None:
    """They would hang a loader process that is forked later and collects them."""
    path = write_video(tmp_path / "video.mp4")
    before = len(os.listdir("/proc/self/task"))
    with PyavVideo(path) as video:
        video.frames([3, 20])
    assert len(os.listdir("/proc/self/task")) == before


def _truncated(path: Path) -> None:
    write_video(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _damaged(path: Path) -> None:
    write_video(path, group=250)
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat")
    content[begin + 9000 : begin + 40000] = bytes(31000)
    path.write_bytes(content)


def _playlist(path: Path) -> None:
    write_video(path.with_name("other.mp4"))
    path.write_text("#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "write",
    [_truncated, _damaged, _playlist, write_sound, lambda path: path.write_bytes(b""), Path.exists],
    ids=["truncated", "damaged", "playlist", "sound", "empty", "absent"],
)
def test_what_is_no_whole_video_is_named(reader: Reader, write, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    write(path)
    with pytest.raises(UnreadableVideo) as caught, reader(path) as video:
        video.frames(range(video.number_of_frames))
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).removeprefix(f"{path}: "), "a reason"


def test_sound_alone_is_called_so(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "sound.mp4")
    with pytest.raises(UnreadableVideo, match=r"sound\.mp4: no video stream \(audio only\)"):
        PyavVideo(path)


@pytest.fixture
def without_torchcodec(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    torchcodec.loads.cache_clear()
    yield
    torchcodec.loads.cache_clear()


@pytest.mark.usefixtures("without_torchcodec")
def test_a_decoder_that_does_not_load_is_refused() -> None:
    assert reader_of("auto") is PyavVideo
    with pytest.raises(UserError, match=r"data\.decoder=pyav"):
        reader_of("torchcodec")


@pytest.mark.parametrize("reader", READERS)
@special_files
def test_what_is_no_ordinary_file_is_no_video(reader: Reader, kind: str, tmp_path: Path) -> None:
    words = put(tmp_path / "odd.mp4", kind)
    with never_waiting(), pytest.raises(UnreadableVideo, match=f"odd.mp4: {words}$"):
        reader(tmp_path / "odd.mp4")


@pytest.fixture(scope="module")
def huge_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One frame of 64 megapixels."""
    return write_huge_video(tmp_path_factory.mktemp("huge") / "huge.ts")


@pytest.mark.parametrize("reader", READERS)
def test_frames_of_too_many_pixels_are_named_before_they_are_decoded(reader: Reader, huge_video: Path) -> None:
    words = r"huge\.ts: (8000x8000 are 64,000,000 pixels, of which at most|.*more than) 35,389,440"
    with pytest.raises(UnreadableVideo, match=words):
        reader(huge_video)


def test_frames_that_grow_on_the_way_are_named(huge_video: Path, tmp_path: Path) -> None:
    """A stream may change its size: here from 64x48 to 8000x8000, in one transport stream."""
    small = write_video(tmp_path / "small.ts", frames=12, codec="mpeg4")
    path = tmp_path / "growing.ts"
    path.write_bytes(small.read_bytes() + huge_video.read_bytes())
    with PyavVideo(path) as video:
        assert video.frames([0]).shape == (1, 3, 48, 64)
        assert video.number_of_frames == 13
        with pytest.raises(UnreadableVideo, match=r"growing\.ts: "):
            video.frames([12])
