"""Whole video runs of a few steps: scores, resume, several processes, what is exported, and the mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scipy.stats
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, log_loss

import mimbench
from benchmarks.config import load_recipe
from benchmarks.engine.samples.loaders import SampleKey
from tests.support.processes import finished, launch
from tests.support.runs import (
    assert_close_training,
    last_checkpoint,
    numbers_of,
    only_run,
    record_of,
    trained,
)
from tests.support.small import RANDOM
from tests.transfer.kinds import rows_of
from transfer.sources.references import resolve
from transfer.video.data.augment import Normalise
from transfer.video.data.samples import ClipForm, TestViews
from transfer.video.data.videos import read_videos
from transfer.video.model import build_video_model
from transfer.video.recipe import VideoRecipe

PLAIN = ["head_dropout=0", "drop_path_rate=0"]
"""Overrides with which no random number depends on the process."""


def videos_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder.parent).as_posix() for path in folder.rglob("*.mp4"))


def test_a_simmim_encoder_is_inflated_with_proof(
    video_command: list[str], simmim_run: Path, small_motion: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = trained([*video_command, "--encoder", str(simmim_run)], tmp_path / "runs")
    record = record_of(folder)
    assert record.task is not None
    assert (record.task.name, record.status) == ("digit_motion", "completed")
    assert record.load_report is not None
    assert (record.load_report.coverage_percent, record.load_report.complete) == (100, True)
    assert {each.mode.split(":")[0] for each in record.load_report.resized} == {"inflated"}
    assert record.exported_sha256 is None
    assert not (folder / "encoder").exists()
    assert "no encoder is exported" in capfd.readouterr().err

    assert record.metrics.keys() == {"top1", "top5"}
    logged = numbers_of(folder)
    along, end = ([line for line in logged if name in line] for name in ("top1_one_view", "top1"))
    assert [line["epoch"] for line in along] == [2.0]
    assert [(line["epoch"], line["top1"]) for line in end] == [(3.0, record.metrics["top1"].last)]
    rows = rows_of(folder / "predictions.csv")
    assert sorted(row["path"] for row in rows) == videos_below(small_motion / "val")
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows)
    found = accuracy_score([row["label"] for row in rows], [row["predicted"] for row in rows])
    assert record.metrics["top1"].last == pytest.approx(100 * found)
    classes = rows_of(folder / "per_class.csv")
    assert sum(int(row["test_videos"]) for row in classes) == len(rows)
    assert sum(int(row["train_videos"]) for row in classes) == len(videos_below(small_motion / "train"))


def test_the_score_is_of_the_mean_probabilities_of_all_views(video_command: list[str], tmp_path: Path) -> None:
    """The expected score is computed from the last checkpoint, one view after the other."""
    folder = trained([*video_command, *RANDOM], tmp_path / "runs", "views_at_once=4")
    resolved = record_of(folder).recipe.resolved
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(resolved))
    recipe = load_recipe(VideoRecipe, "transfer", str(path)).config
    data = read_videos(recipe.data, None)
    loaded = build_video_model(recipe, resolve(RANDOM[1]), len(data.classes), seed=0)
    loaded.model.load_state_dict(last_checkpoint(folder).part("model"))
    loaded.model.eval()
    normalise = Normalise(loaded.plan.normalisation.mean, loaded.plan.normalisation.std)
    samples = TestViews(data.test, ClipForm(recipe.sampling, recipe.image_size_px, normalise))
    probabilities, labels = [], []
    for position in range(len(samples)):
        video = samples[SampleKey(position, 0)].to(torch.device("cpu"))
        assert len(video.views) == 2 * 3
        with torch.no_grad():
            each = [loaded.model(view[None])[0].double().softmax(0) for view in video.views]
        probabilities.append((sum(each) / 6).numpy())
        labels.append(video.label)
    last = numbers_of(folder)[-1]
    assert last["eval_loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    predicted = [data.classes[row.argmax()] for row in probabilities]
    assert [row["predicted"] for row in rows_of(folder / "predictions.csv")] == predicted


@pytest.mark.long
def test_each_video_is_scored_once_whatever_processes_and_workers(
    video_command: list[str], small_motion: Path, tmp_path: Path
) -> None:
    """An odd number of test videos, so that two processes do not share evenly. That loader processes change no bit of
    one process's training is proved for all kinds, in `test_life`."""
    if len(videos_below(small_motion / "val")) % 2 == 0:
        sorted((small_motion / "val").rglob("*.mp4"))[-1].unlink()
    short = ["training.epochs=1", "training.schedule.warmup_epochs=0", "sampling.test_clips=1", "sampling.test_crops=1"]
    command = [*video_command, *RANDOM, *PLAIN, *short]
    one = trained(command, tmp_path / "one")
    ranks = finished(launch([*command, "training.workers=2", "--runs", str(tmp_path / "two")]))
    assert [code for code, _, _ in ranks] == [0, 0], ranks
    two = only_run(tmp_path / "two")
    assert record_of(two).processes == 2
    listed = videos_below(small_motion / "val")
    assert len(listed) % 2 == 1
    for folder in (one, two):
        assert [row["path"] for row in rows_of(folder / "predictions.csv")] == listed
    assert_close_training(one, two)


def test_missing_and_broken_videos_are_named_skipped_and_counted(
    video_command: list[str], small_motion: Path, tmp_path: Path
) -> None:
    broken = [sorted((small_motion / split).rglob("*.mp4"))[1] for split in ("train", "val")]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    gone = [f"{split}/{broken[0].parent.name}/gone.mp4" for split in ("train", "val")]
    command = [*video_command, *RANDOM]
    for split, name in zip(("train", "val"), gone, strict=True):
        names = [*videos_below(small_motion / split), name]
        classes = sorted({Path(name).parent.name for name in names})
        listing = small_motion / f"{split}.txt"
        listing.write_text("".join(f"{name} {classes.index(Path(name).parent.name)}\n" for name in names))
        command.append(f"data.{split.replace('val', 'test')}_list={listing}")
    folder = trained(command, tmp_path / "runs", "data.max_missing=2")
    named = sorted(text.split(":")[0] for text in record_of(folder).data.unreadable)
    assert named == sorted([*map(str, broken), *gone])
    tested = {row["path"] for row in rows_of(folder / "predictions.csv")}
    assert tested == set(videos_below(small_motion / "val")) - {broken[1].relative_to(small_motion).as_posix()}
    assert mimbench.main([*command, "--runs", str(tmp_path / "missing"), "data.max_missing=1"]) == mimbench.WRONG
    strict = ["--runs", str(tmp_path / "strict"), "data.max_missing=2", "data.max_unreadable=0"]
    assert mimbench.main([*command, *strict]) == mimbench.FAILED
    assert record_of(only_run(tmp_path / "strict")).status == "failed"


def test_grey_encoders_are_refused(video_command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main([*video_command, *RANDOM, "in_chans=1", "--runs", str(tmp_path)]) == mimbench.WRONG
    assert "3 (videos are read as RGB)" in capfd.readouterr().err


def test_a_vit_is_trained_on_frames(video_command: list[str], tmp_path: Path) -> None:
    more = ["sampling.frames=2", "training.epochs=2", "sampling.test_crops=1"]
    folder = trained([*video_command, "--encoder", "random:vit_tiny_patch16_224"], tmp_path / "runs", *more)
    assert load_file(folder / "encoder" / "encoder.safetensors")["pos_embed"].shape == (1, 1 + 2 * 2, 192)


@pytest.mark.long
def test_the_motion_is_learned_from_clips_and_not_from_single_frames(motion: Path, tmp_path: Path) -> None:
    """Bounds of binomial distributions: one frame of each video is no better than guessing."""
    command = ["transfer", "digit_motion", *RANDOM, f"data.root={motion}"]
    clips = trained(command, tmp_path / "clips")
    single = ["sampling.frames=1", "patch_frames=1", "training.epochs=4", "evaluate_every_epochs=4"]
    frames = trained(command, tmp_path / "frames", *single)
    tested, classes = len(rows_of(clips / "predictions.csv")), len(rows_of(clips / "per_class.csv"))
    guessed = scipy.stats.binom(tested, 1 / classes)
    correct = {run: round(record_of(run).metrics["top1"].last / 100 * tested) for run in (clips, frames)}
    assert correct[frames] <= guessed.ppf(0.999), "what one guesser in a thousand exceeds"
    axis = scipy.stats.binom(tested, 2 / classes)
    assert correct[clips] > axis.ppf(0.999), "nor is it the axis alone, which gives half"
