"""Clips and views as samples: what is drawn depends on the seed alone, and every test video is given once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2 import functional

from benchmarks.engine.samples.loaders import SampleKey, StepBatches, evaluation_loader, training_loader
from benchmarks.errors import UserError
from transfer.video.data.augment import Normalise, require_crop_fits
from transfer.video.data.augment import test_crops as crops_of_test
from transfer.video.data.pyav import PyavVideo
from transfer.video.data.recipe import ClipSampling, ResizedCrop, ShortSideCrop, VideoAugmentation, VideoData
from transfer.video.data.samples import ClipForm, TestViews, TrainingClips
from transfer.video.data.videos import VideoSets, read_videos

NORMALISE = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SAMPLING = ClipSampling(frames=4, stride=2, test_clips=2)
FORM = ClipForm(SAMPLING, 32, NORMALISE)
CPU = torch.device("cpu")


def found(root: Path) -> VideoSets:
    return read_videos(VideoData(root=str(root)), None)


def training(root: Path, augmentation: VideoAugmentation | None = None, patience: int = 0) -> TrainingClips:
    settings = augmentation or VideoAugmentation()
    return TrainingClips(found(root).train, FORM, settings, 1, patience)


def test_batches_are_the_same_with_and_without_workers(videos: Path) -> None:
    samples = training(videos)
    alone, helped = (
        [batch.to(CPU) for batch in training_loader(samples, StepBatches(len(samples), 3, 4, 0, 1), workers, False)]
        for workers in (0, 2)
    )
    assert [batch.clips.shape for batch in alone] == [(3, 3, 4, 32, 32)] * 4
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.clips, other.clips)
        assert torch.equal(one.labels, other.labels)
    assert not torch.equal(samples[SampleKey(0, 0)].clip, samples[SampleKey(0, 1)].clip), "another epoch, another clip"


@pytest.mark.parametrize("crop", [ResizedCrop(), ShortSideCrop(shorter_side_px=(36, 40))])
def test_all_frames_of_a_clip_are_cropped_and_flipped_alike(crop: ResizedCrop | ShortSideCrop) -> None:
    from transfer.video.data.augment import TrainingTransform

    still = torch.randint(0, 256, (1, 3, 48, 64), dtype=torch.uint8).expand(5, -1, -1, -1)
    changed = TrainingTransform(VideoAugmentation(crop=crop), 32)(still)
    assert changed.shape == (5, 3, 32, 32)
    assert (changed == changed[:1]).all()


def test_a_broken_video_gives_the_next_and_is_named(videos: Path) -> None:
    broken = found(videos).train[2].path
    broken.write_bytes(b"no video")
    sample = training(videos, patience=1)[SampleKey(2, 0)]
    assert sample.label == found(videos).train[3].label == 1
    assert sample.clip.float().std() > 0
    assert [text.partition(":")[0] for text in sample.unreadable] == [str(broken)]
    (view,) = (view for view in views_of(videos) if view.position == 0)
    assert view.unreadable == []


def views_of(root: Path, workers: int = 0) -> list:
    return list(evaluation_loader(TestViews(found(root).test, FORM), 1, workers, False))


def test_a_broken_test_video_has_no_views(videos: Path) -> None:
    broken = found(videos).test[1].path
    broken.write_bytes(b"")
    view = views_of(videos)[1].to(CPU)
    assert (view.position, view.views.shape, view.label) == (1, (0, 3, 4, 32, 32), 0)
    assert view.unreadable[0].startswith(f"{broken}: ")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world", [1, 2])
def test_every_test_video_is_given_once(
    videos: Path, workers: int, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    next((videos / "val" / "zumba").iterdir()).unlink()  # 3 are left: no whole share for each process
    positions = []
    for rank in range(world):
        monkeypatch.setenv("WORLD_SIZE", str(world))
        monkeypatch.setenv("RANK", str(rank))
        positions += [view.position for view in views_of(videos, workers)]
    assert sorted(positions) == [0, 1, 2]


def test_views_are_clips_by_crops(videos: Path) -> None:
    view = views_of(videos)[0].to(CPU)
    with PyavVideo(found(videos).test[0].path) as video:
        # 20 frames, clips of 8: 13 first frames, 2 segments of 6.5, their middles 3 and 9.
        frames = functional.resize(video.frames([9, 11, 13, 15]), [32], antialias=False)
    assert frames.shape == (4, 3, 32, 42)
    for place, left in enumerate((0, 5, 10)):
        expected = functional.normalize(
            functional.to_dtype(frames[..., left : left + 32], torch.float32, scale=True), NORMALISE.mean, NORMALISE.std
        )
        assert torch.allclose(view.views[3 + place], expected.transpose(0, 1), atol=1e-5)


def test_crops_of_an_upright_video_go_from_top_to_bottom() -> None:
    tall = torch.arange(90, dtype=torch.uint8)[:, None].expand(1, 3, 90, 30)
    assert [int(crop[0, 0, 0, 0]) for crop in crops_of_test(tall, 30, 3)] == [0, 30, 60]
    assert [int(crop[0, 0, 0, 0]) for crop in crops_of_test(tall, 30, 1)] == [30]


def test_a_clip_is_not_cut_from_less_than_its_size() -> None:
    augmentation = VideoAugmentation(crop=ShortSideCrop(shorter_side_px=(36, 40)))
    require_crop_fits(augmentation, 36)
    with pytest.raises(UserError, match=r"at least image_size_px, 64(.|\n)*shorter_side_px=\[64,64\]"):
        require_crop_fits(augmentation, 64)
