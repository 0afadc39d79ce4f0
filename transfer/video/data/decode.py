"""Choosing the decoder that opens videos: torchcodec where it loads, else PyAV. Their frames are the same."""

from __future__ import annotations

from pathlib import Path

from benchmarks.errors import UserError
from transfer.video.data import torchcodec
from transfer.video.data.pyav import PyavVideo
from transfer.video.data.reader import Reader, VideoReader
from transfer.video.data.recipe import Decoder

INDEXED = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"}


def reader_of(decoder: Decoder) -> Reader:
    """Return the function that opens videos. Raises UserError where torchcodec is asked for and does not load."""
    if decoder == "pyav" or (decoder == "auto" and not torchcodec.loads()):
        return PyavVideo
    if not torchcodec.loads():
        rule = "a decoder that loads: torchcodec needs its package and FFmpeg's shared libraries"
        remedy = "data.decoder=pyav; or pip install torchcodec, and FFmpeg (apt install ffmpeg)"
        raise UserError.about("data.decoder", decoder, rule, remedy)
    return by_torchcodec


def by_torchcodec(path: Path) -> VideoReader:
    """Open a video by torchcodec, but by PyAV where torchcodec would give other frames.

    Those are videos without an index, in which it seeks to other frames, and videos with a display matrix, of which it
    heeds the rotation and not the mirroring.
    """
    if path.suffix.lower() not in INDEXED:
        return PyavVideo(path)
    video = torchcodec.TorchcodecVideo(path)
    return PyavVideo(path) if video.has_display_matrix else video
