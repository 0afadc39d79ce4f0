"""The attentive probe of videos, and Something-Something's files: V-JEPA's own code and the data set's form as witness.

`fixtures/jepa_frames.json` holds every third token that facebookresearch/jepa (commit 51c59d5) makes of two clips with
two segments of two frames: FrameAggregation around the same timm model, with an embedding of time and without.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import mimbench
from benchmarks.encoders import Architecture
from benchmarks.engine.backbone import build_backbone
from benchmarks.errors import UserError
from tests.support.runs import last_checkpoint, record_of, trained
from tests.support.waves import SMALL_VIT, fill
from transfer.encoder.features import OUTPUT
from transfer.video.attentive import FrozenFrames
from transfer.video.data.recipe import VideoData
from transfer.video.data.videos import read_videos

WITNESS = json.loads((Path(__file__).parent / "fixtures" / "jepa_frames.json").read_text())
LABELS = {"Turning [something] upside down": 2, "Holding [something]": 0, "Pushing [something] off [something]": 1}


@pytest.mark.parametrize("embedded", [False, True])
def test_tokens_are_those_of_v_jepas_frames(embedded: bool) -> None:
    backbone = build_backbone(Architecture(name="vit_tiny_patch16_224", arguments=SMALL_VIT), 28)
    fill(backbone)
    frames = FrozenFrames(backbone, (OUTPUT,), 28, 3)
    frames.time_embedding = embedded
    clips = torch.sin(torch.arange(2 * 3 * 4 * 28 * 28, dtype=torch.float64) * 0.37).float().reshape(2, 3, 4, 28, 28)
    (tokens,) = frames.patches(clips)
    expected = WITNESS[str(embedded).lower()]
    assert list(tokens.shape) == expected["shape"]
    assert tokens[:, ::3].flatten().tolist() == pytest.approx(expected["tokens"], abs=2e-5)


def test_a_probe_keeps_its_head_alone_and_is_scored_again(motion: Path, tmp_path: Path) -> None:
    command = ["transfer", "digit_motion", "--recipe", "digit_motion_attentive", f"data.root={motion}"]
    command += ["--encoder", "random:digits_swin", "training.epochs=1", "training.schedule.warmup_epochs=0"]
    folder = trained(command, tmp_path / "runs")
    record = record_of(folder)
    assert record.feature == "block 4: all patches of all frames, pooled by the probe's own attention"
    assert record.exported_sha256 is None
    assert not any("backbone" in name for name in last_checkpoint(folder).part("model"))
    again = ["evaluate", "digit_motion", "--model", str(folder), f"data.root={motion}"]
    assert mimbench.main(again) == 0


def test_a_grid_is_chosen_on_held_out_videos_and_scored_again_by_the_same_choice(
    small_motion: Path, tmp_path: Path
) -> None:
    grid = "grid={learning_rates: [2e-3, 1e-3], weight_decays: [0.01, 0.4], held_out: {per_class: 2}}"
    command = ["transfer", "digit_motion", "--recipe", "digit_motion_attentive", f"data.root={small_motion}", grid]
    command += ["--encoder", "random:digits_swin", "training.epochs=1", "training.schedule.warmup_epochs=0"]
    command += ["training.clip_grad_norm=null", "training.batch_size=4"]
    folder = trained(command, tmp_path / "runs")
    record, rows = record_of(folder), list(csv.DictReader((folder / "grid.csv").open()))
    assert [(row["learning_rate"], row["weight_decay"]) for row in rows] == [
        *(("0.002", "0.01"), ("0.002", "0.4")),
        *(("0.001", "0.01"), ("0.001", "0.4")),
    ]
    (best,) = (row for row in rows if row["note"])
    assert float(best["held_out_top1"]) == max(float(row["held_out_top1"]) for row in rows)
    assert record.choice is not None
    assert (record.choice.members, record.choice.held_out_images) == (4, 8)
    assert "held-out training videos" in record.choice.why
    train = {path.name for path in (small_motion / "train").rglob("*.mp4")}
    assert record.training_images == len(train) - 8
    again = ["evaluate", "digit_motion", "--model", str(folder), "--name", "train", f"data.root={small_motion}"]
    assert mimbench.main([*again, "data.test=train"]) == 0
    (added,) = record_of(folder).added_test_sets
    assert added.reproduced["top1"] == pytest.approx(record.metrics["top1"].last)
    assert "held_out_top1" not in added.scores


def something(root: Path, motion: Path, labels: Any = None) -> dict[str, Any]:
    """Write 3 training and 3 validation videos in the form in which the data set is published; return its fields."""
    videos = root / "20bn-something-something-v2"
    videos.mkdir(parents=True)
    files = sorted(motion.rglob("*.mp4"))[:6]
    for number, file in enumerate(files):
        shutil.copy(file, videos / f"{70000 + number}.mp4")
    for split, first in (("train", 0), ("validation", 3)):
        rows = [
            {"id": str(70000 + first + at), "label": "holding a cup", "template": template, "placeholders": ["a cup"]}
            for at, template in enumerate(LABELS)
        ]
        (root / f"something-something-v2-{split}.json").write_text(json.dumps(rows))
    numbers = {name.replace("[", "").replace("]", ""): str(number) for name, number in LABELS.items()}
    (root / "something-something-v2-labels.json").write_text(json.dumps(numbers if labels is None else labels))
    return {
        "root": str(root),
        "train": videos.name,
        "test": videos.name,
        "train_list": "something-something-v2-train.json",
        "test_list": "something-something-v2-validation.json",
        "classes": "something-something-v2-labels.json",
    }


def test_something_somethings_files_are_read_as_they_are_published(motion: Path, tmp_path: Path) -> None:
    found = read_videos(VideoData(**something(tmp_path / "ssv2", motion)), None)
    assert found.classes == ("Holding something", "Pushing something off something", "Turning something upside down")
    assert [(video.path.stem, video.label) for video in found.train] == [("70000", 2), ("70001", 0), ("70002", 1)]
    assert [(video.path.stem, video.label) for video in found.test] == [("70003", 2), ("70004", 0), ("70005", 1)]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"Holding something": "0", "Pushing something off something": "2"}, "the numbers 0, 1, ..., each once"),
        ({"Holding something": "0"}, "Pushing something off something in"),
        (["Holding something"], "the numbers 0, 1, ..., each once"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Any, words: str, motion: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        read_videos(VideoData(**something(tmp_path / "ssv2", motion, labels)), None)


@pytest.mark.parametrize("rows", [{}, [], [{"id": "1"}], [{"id": 1, "template": "x"}], ["1"]])
def test_a_list_of_another_form_is_refused(rows: Any, motion: Path, tmp_path: Path) -> None:
    fields = something(tmp_path / "ssv2", motion)
    (tmp_path / "ssv2" / "something-something-v2-train.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="take Something-Something's own file again"):
        read_videos(VideoData(**fields), None)
