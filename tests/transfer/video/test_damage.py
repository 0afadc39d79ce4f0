"""Videos cut off or with flipped bits anywhere: each gives its clips or is named, in a training and in a test."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.engine.samples.loaders import SampleKey
from tests.transfer.video.videos import write_video
from transfer.video.data import torchcodec
from transfer.video.data.augment import Normalise
from transfer.video.data.recipe import ClipSampling, Decoder, VideoAugmentation
from transfer.video.data.samples import ClipForm, TestViews, TrainingClips
from transfer.video.data.videos import LabelledVideo

VIDEOS_OF_A_KIND = 35
"""Of each kind of damage to each container."""
NORMALISE = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SAMPLING = ClipSampling(frames=4, stride=2, test_clips=1, test_crops=1)
DECODERS = [
    "pyav",
    pytest.param(
        "torchcodec",
        marks=pytest.mark.skipif(
            not torchcodec.loads() and os.environ.get("CI") != "true", reason="needs torchcodec and FFmpeg's libraries"
        ),
    ),
]


def _cut(whole: bytes, draw: random.Random) -> bytes:
    return whole[: draw.randrange(len(whole))]


def _flipped(whole: bytes, draw: random.Random) -> bytes:
    """Flip bits anywhere, but more of them at both ends, where containers keep their tables."""
    changed, ends = bytearray(whole), min(3000, len(whole))
    for _ in range(draw.randint(1, 20)):
        places = (draw.randrange(len(whole)), draw.randrange(ends), len(whole) - 1 - draw.randrange(ends))
        changed[draw.choice(places)] ^= 1 << draw.randrange(8)
    return bytes(changed)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledVideo]:
    """Damaged videos of several containers; the same in every run as far as the encoder writes the same bytes."""
    folder, found = tmp_path_factory.mktemp("damaged"), []
    damages: tuple[Callable[[bytes, random.Random], bytes], ...] = (_cut, _flipped)
    for name in ("whole.mp4", "whole.mkv", "whole.ts"):
        whole = write_video(folder / name, frames=16, size=(32, 32)).read_bytes()
        for damage in damages:
            for seed in range(VIDEOS_OF_A_KIND):
                path = folder / f"{damage.__name__}{seed}{Path(name).suffix}"
                path.write_bytes(damage(whole, random.Random(seed)))
                found.append(LabelledVideo(path, len(found)))
    return found


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_damaged_video_gives_clips_or_is_named(damaged: list[LabelledVideo], decoder: Decoder) -> None:
    form = ClipForm(SAMPLING, 32, NORMALISE, decoder)
    training, test = TrainingClips(damaged, form, VideoAugmentation(), 1, 0), TestViews(damaged, form)
    named = 0
    for position, video in enumerate(damaged):
        key = SampleKey(position, 0)
        clip, view = training[key], test[key]
        assert clip.clip.shape == (3, 4, 32, 32)
        assert clip.clip.dtype == torch.uint8
        assert all(text.startswith(f"{video.path}: ") for text in (*clip.unreadable, *view.unreadable))
        assert len(clip.unreadable) <= 1
        assert len(view.views) + len(view.unreadable) == 1, "its only view, or its name"
        named += len(view.unreadable)
    assert 0.2 * len(damaged) < named < len(damaged), "some of this damage spares what is read"


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_codec_that_nobody_knows_is_named(decoder: Decoder, tmp_path: Path) -> None:
    """Such a stream has no decoder at all."""
    path = write_video(tmp_path / "video.mp4", frames=8)
    content = path.read_bytes()
    entry = content.rindex(b"avc1")  # of the sample description, after the brand of the same name
    path.write_bytes(content[:entry] + b"zzzz" + content[entry + 4 :])
    video = LabelledVideo(path, 0)
    view = TestViews([video], ClipForm(SAMPLING, 32, NORMALISE, decoder))[SampleKey(0, 0)]
    (text,) = view.unreadable
    assert text.startswith(f"{path}: ")
