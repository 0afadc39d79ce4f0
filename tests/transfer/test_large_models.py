"""Models divided between two processes, in every kind of transfer: they end as copied ones do, and each holds half."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import mimbench
from benchmarks.config import load_recipe
from benchmarks.encoders import read_manifest
from tests.support import small
from tests.support.in_turn import in_turn
from tests.support.runs import assert_close_training, assert_same_end, only_run, record_of, trained
from tests.transfer.detection.detectors import require_detectron2
from tests.transfer.kinds import CLASSIFICATION, DETECTION, KINDS, SEGMENTATION, VIDEO, Kind, rows_of
from transfer.video.recipe import VideoRecipe

pytestmark = pytest.mark.long  # models divided between processes, each trained whole

LARGE = ["training.sharded=true", "training.activation_checkpointing=true"]
SGD = ["training.optimizer={kind: sgd, momentum: 0.9}", "drop_path_rate=0.0", "layer_decay=0.9"]
MORE = {
    CLASSIFICATION: [
        *("augmentation.mixup=0", "augmentation.cutmix=0", "training.schedule.base_lr=0.5", "ema_decay=0.6"),
        *("training.epochs=2", "evaluate_every_epochs=1"),
    ],
    DETECTION: [
        "training.schedule={kind: multistep, lr: 1e-2, milestone_steps: [2], warmup_steps: 1}",
        "training.steps=3",
    ],
    SEGMENTATION: ["training.schedule.lr=0.05", "testing.mode=slide", "testing.stride_px=21", "training.steps=3"],
    VIDEO: [
        *(
            "training.schedule.base_lr=0.5",
            "head_dropout=0.0",
            "training.epochs=1",
            "training.schedule.warmup_epochs=0",
        ),
        *("sampling.test_clips=1", "sampling.test_crops=1"),
    ],
}
"""Rates at which SGD moves the weights within a few steps, and nothing that is drawn for each process."""
ALONE = (CLASSIFICATION, VIDEO)
"""The kinds that draw nothing and average nothing for each process: one process ends as two do."""
CLOSE = {"weights": 2e-5, "numbers": 1e-3}
"""How far two trainings may be apart: the rounding of fp32 sums."""


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_divided_model_trains_stops_goes_on_and_exports_as_a_copied_one(
    kind: Kind, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    kind.require()
    data = kind.cut(request.getfixturevalue(kind.whole), tmp_path / "data")
    command = [*kind.command(data), *small.RANDOM, *SGD, *MORE[kind], *kind.exporting]
    large = [*command, *LARGE]
    names = ("copied", "divided", "stopped", "alone")
    runs = {name: tmp_path / name for name in names}
    stopped = {"command": large, "runs": str(runs["stopped"])}
    entries = [
        {"command": command, "runs": str(runs["copied"])},
        {"command": large, "runs": str(runs["divided"])},
        {**stopped, "stop": kind.saved_at, "copy": str(runs["alone"])},
        stopped,
    ]
    if kind is VIDEO:
        entries += [
            {"command": [*command, "temporal=swin3d"], "runs": str(tmp_path / "swin3d" / "copied")},
            {"command": [*large, "temporal=swin3d"], "runs": str(tmp_path / "swin3d" / "divided")},
        ]
    found = in_turn(entries, tmp_path / "found")
    folders = {name: only_run(runs[name]) for name in names}
    assert len({folder.name for folder in folders.values()}) == 1, "these fields say how to run, not what"
    assert_close_training(folders["copied"], folders["divided"], **CLOSE)
    assert_same_end(folders["divided"], folders["stopped"], kind.results)
    _assert_halved(*found[:2])
    if kind is VIDEO:
        assert_close_training(*(only_run(tmp_path / "swin3d" / name) for name in ("copied", "divided")), **CLOSE)
        _assert_halved(*found[4:])
    _assert_exported_as_by_one_process(large, folders["divided"], tmp_path / "again")
    if kind in ALONE:
        resumed = trained(large, runs["alone"])
        assert record_of(resumed).attempts == 2
        assert_close_training(folders["copied"], resumed, **CLOSE)


def test_a_detector_of_detectron2_is_divided_as_well(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Resumed without a division, too: how the weights lie in processes is no part of what is trained."""
    require_detectron2()
    data = DETECTION.cut(request.getfixturevalue(DETECTION.whole), tmp_path / "data")
    command = [*DETECTION.command(data), *small.RANDOM, *SGD, *MORE[DETECTION], "engine=detectron2"]
    stopped = {"runs": str(tmp_path / "stopped")}
    found = in_turn(
        [
            {"command": command, "runs": str(tmp_path / "copied")},
            {"command": [*command, *LARGE], "runs": str(tmp_path / "divided")},
            {"command": [*command, *LARGE], **stopped, "stop": DETECTION.saved_at},
            {"command": command, **stopped},
        ],
        tmp_path / "found",
    )
    copied, divided, toggled = (only_run(tmp_path / name) for name in ("copied", "divided", "stopped"))
    assert copied.name == divided.name == toggled.name
    assert record_of(toggled).attempts == 2
    for other in (divided, toggled):
        assert_close_training(copied, other, **CLOSE)
    _assert_halved(*found[:2])


def _assert_halved(copied: list[dict[str, int]], divided: list[dict[str, int]]) -> None:
    """Of a tensor whose first side is odd, one process holds a row more."""
    assert all(rank["held"] == rank["whole"] for rank in copied)
    assert all(rank["whole"] == copied[0]["whole"] for rank in divided)
    assert all(0.4 < rank["held"] / rank["whole"] < 0.6 for rank in divided), divided


def _assert_exported_as_by_one_process(command: list[str], divided: Path, again: Path) -> None:
    """One process that finds all steps done writes the encoder of the same weights."""
    folder = shutil.copytree(divided, again / divided.name)
    shutil.rmtree(folder / "encoder", ignore_errors=True)
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "status": "preempted", "finished_at": None}))
    trained(command, again)
    exported = [read_manifest(each / "encoder").sha256 for each in (divided, folder)]
    assert exported[0] == exported[1] == record_of(divided).exported_sha256


def test_a_frozen_encoder_is_divided_under_every_protocol(digits: Path, simmim_run: Path, tmp_path: Path) -> None:
    """BN sees each process's own half of a batch, so that probes in two processes are compared with each other."""
    data = small.cut_digits(digits, tmp_path / "data")
    entries = {}
    for protocol in ("linear", "attentive", "knn"):
        fields = ["other_k=[5]"] if protocol == "knn" else small.classification(data)[4:]
        fields += ["inference.batch_size=6"] if protocol == "knn" else []
        large = ["inference.sharded=true"] if protocol == "knn" else LARGE
        command = ["transfer", "digits", "--recipe", f"digits_{protocol}", f"data.root={data}", "image_size_px=32"]
        command += ["--encoder", str(simmim_run), *fields]
        entries[protocol, "copied"] = {"command": command, "runs": str(tmp_path / protocol / "copied")}
        entries[protocol, "divided"] = {"command": [*command, *large], "runs": str(tmp_path / protocol / "divided")}
    found = dict(zip(entries, in_turn(list(entries.values()), tmp_path / "found"), strict=True))
    for protocol in ("linear", "attentive", "knn"):
        copied, divided = (only_run(tmp_path / protocol / name) for name in ("copied", "divided"))
        assert copied.name == divided.name
        one, other = (
            [(row["path"], row["predicted"]) for row in rows_of(each / "predictions.csv")] for each in (copied, divided)
        )
        assert one == other
        assert record_of(copied).load_report == record_of(divided).load_report
        if protocol != "knn":
            assert_close_training(copied, divided, **CLOSE)
            _assert_halved(found[protocol, "copied"], found[protocol, "divided"])


def test_an_encoder_whose_blocks_are_unknown_is_refused_before_it_is_trained(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*small.classification(small_digits), "--encoder", "random:dla46_c", "layer_decay=1.0"]
    command += ["training.activation_checkpointing=true", "--runs", str(tmp_path / "runs")]
    assert mimbench.main(command) == mimbench.WRONG
    said = capsys.readouterr().err
    assert "sharded or activation_checkpointing = DLA" in said
    assert "set both to false" in said
    assert not list((tmp_path / "runs").glob("*/checkpoints"))


def test_passes_too_small_for_pairs_and_for_batch_norm_are_refused(
    small_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*small.classification(small_digits), *small.RANDOM, "--runs", str(tmp_path / "runs")]
    assert mimbench.main([*command, "training.accumulate=4"]) == mimbench.WRONG
    assert "an even number of images in each pass of a process with mixup or cutmix (now 5)" in capsys.readouterr().err
    assert mimbench.main([*command, "training.accumulate=3"]) == mimbench.WRONG
    assert "training.accumulate = 3" in capsys.readouterr().err
    assert mimbench.main([*command, "--recipe", "digits_linear", "training.accumulate=20"]) == mimbench.WRONG
    assert "at least 2 images per process and pass with batch_norm" in capsys.readouterr().err


def test_a_video_recipe_of_before_is_read_as_it_was_meant() -> None:
    new, old = (
        load_recipe(VideoRecipe, "transfer", "digit_motion_finetune", [f"{place}activation_checkpointing=true"]).config
        for place in ("training.", "")
    )
    assert new == old
    assert old.training.activation_checkpointing
