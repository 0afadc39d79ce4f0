"""Which decoder opens videos: torchcodec where it loads, else PyAV. Their frames are the same."""

from __future__ import annotations

from benchmarks.errors import UserError
from transfer.video import torchcodec
from transfer.video.pyav import PyavVideo
from transfer.video.reader import Reader
from transfer.video.settings import Decoder


def reader_of(decoder: Decoder) -> Reader:
    """Return what opens videos here. Raises UserError where torchcodec is wanted and does not load."""
    if decoder == "pyav" or (decoder == "auto" and not torchcodec.loads()):
        return PyavVideo
    if not torchcodec.loads():
        rule = "a decoder that loads: torchcodec needs its package and FFmpeg's shared libraries"
        remedy = "data.decoder=pyav; or pip install torchcodec, and FFmpeg (apt install ffmpeg)"
        raise UserError.about("data.decoder", decoder, rule, remedy)
    return torchcodec.TorchcodecVideo
