"""`mimbench bench`: real rounds of real programs, the numbers that follow from them, and their use in a plan."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import torch

import mimbench
from benchmarks.config import load_recipe
from benchmarks.runs.bench_record import bench_records
from pretrain.bench.measure import ratio_of
from pretrain.method.simmim import build_method
from pretrain.recipe import PretrainRecipe
from slurm.graph.cluster import LocalCluster
from slurm.plan.speed import Training, find_speed
from tests.support import small

SMALL_VIT = [
    "encoder={name: beit_base_patch16_224, arguments: {embed_dim: 24, depth: 1, num_heads: 1, global_pool: token}}",
    *("image_size_px=64", "masking.mask_patch_size_px=16"),
]


def test_a_ratio_is_that_of_rounds_side_by_side_with_the_span_of_its_median() -> None:
    """Order statistics hold the median of 6 with 1 - 2/64, of 9 (the second and the last but one) with 1 - 20/512."""
    slow = [1.0, 10.0, 1.0, 10.0, 1.0, 10.0, 1.0, 10.0, 1.0]
    factors = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    other = [seconds * factor for seconds, factor in zip(slow, factors, strict=True)]
    nine, six, three = (ratio_of(slow[:count], other[:count]) for count in (9, 6, 3))
    assert (nine.median, nine.low, nine.high) == (5.0, 2.0, 8.0)
    assert (six.median, six.low, six.high) == (3.5, 1.0, 6.0)
    assert (three.median, three.low, three.high) == (2.0, 1.0, 3.0)


@pytest.mark.long
def test_steps_are_timed_beside_others_and_a_plan_uses_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    changes = [f"encoder={small.SWIN}", "image_size_px=32", "training.device=cpu"]
    asked = ["bench", "digits_simmim", "--batch", "4", "--rounds", "2", "--threads", "1", "--runs", str(tmp_path)]
    assert mimbench.main([*asked, "--peer", "timm", "--json", *changes]) == 0
    printed = json.loads(capsys.readouterr().out)
    (record,) = bench_records(tmp_path)
    assert json.loads(record.model_dump_json()) == printed
    assert not list((tmp_path / "temporary").glob("tmp*"))
    own, timm = record.programs
    assert (own.name, timm.name, len(own.seconds), len(timm.seconds)) == ("mimbench", "timm", 2, 2)
    assert own.ways[0] == "tokens in the order of windows"
    assert "norms and GELU computed again" in own.ways
    assert timm.ways == ()
    assert own.ratio.median == 1
    assert timm.ratio.median == pytest.approx(sum(b / a for a, b in zip(own.seconds, timm.seconds, strict=True)) / 2)
    assert own.per_second == pytest.approx(4 / (sum(own.seconds) / 2))
    assert 0 < own.start_s < own.first_step_s
    assert own.training_memory_mb is not None
    assert 0 < own.training_memory_mb < own.peak_memory_mb
    assert record.utilisation is not None
    assert 0 < record.utilisation < 1

    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["training.batch_size=64", *changes]).config
    here = LocalCluster(executor="local")
    speed = find_speed(Training("pretrain", recipe, "digits_simmim", None, 1), here, [], [record])
    assert speed is not None
    assert (speed.images_per_second, speed.source[:29]) == (own.per_second, "measured by `mimbench bench` ")
    plain = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", [*changes, "training.fast_step=false"]).config
    assert find_speed(Training("pretrain", plain, "digits_simmim", None, 1), here, [], [record]) is None


@pytest.mark.long
def test_images_are_loaded_beside_torchvision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["bench", "digits_simmim", "--part", "loader", "--batch", "2", "--rounds", "1", "--warm-up", "0"]
    assert mimbench.main([*asked, "--peer", "torchvision", "--threads", "1", "--runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "loader of digits_simmim, 2 images, cpu (1 thread)" in out
    (record,) = bench_records(tmp_path)
    assert [(timed.name, timed.ways) for timed in record.programs] == [
        ("mimbench", ("decode: exact",)),
        ("mimbench fast", ("decode: fast",)),
        ("torchvision", ()),
    ]
    assert record.utilisation is None


@pytest.mark.long
def test_steps_in_several_processes_are_timed_copied_and_divided(tmp_path: Path) -> None:
    """Each process sends half of twice all gradients, of 4 bytes, to one other; divided, weights twice beside them."""
    changes = [f"encoder={small.SWIN}", "image_size_px=32", "training.device=cpu"]
    asked = ["bench", "digits_simmim", "--part", "scale", "--processes", "2,1", "--batch", "4", "--rounds", "2"]
    assert mimbench.main([*asked, "--threads", "1", "--runs", str(tmp_path), *changes]) == 0
    (record,) = bench_records(tmp_path)
    assert [timed.name for timed in record.programs] == ["1 process", "2 x DDP", "2 x FSDP2"]
    assert [(timed.processes, timed.sharded) for timed in record.programs] == [(1, False), (2, False), (2, True)]
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", changes).config
    model = build_method(recipe, torch.device("cpu")).model
    gradients_mb = 4 * sum(each.numel() for each in model.parameters()) / 1e6
    assert [timed.sent_mb for timed in record.programs] == pytest.approx([0, gradients_mb, 1.5 * gradients_mb])
    for timed in record.programs:
        assert timed.per_second == pytest.approx(4 * timed.processes / statistics.median(timed.seconds))
    here = LocalCluster(executor="local")
    assert find_speed(Training("pretrain", recipe, "digits_simmim", None, 1), here, [], [record]) is None


@pytest.mark.long
def test_a_start_is_timed_from_its_process_to_its_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [f"encoder={small.SWIN}", "image_size_px=32", "training.device=cpu"]
    asked = ["bench", "digits_simmim", "--part", "start", "--batch", "2", "--rounds", "1", "--threads", "1"]
    assert mimbench.main([*asked, "--runs", str(tmp_path), *changes]) == 0
    assert "of the seconds until the first step: imports " in capsys.readouterr().out
    (record,) = bench_records(tmp_path)
    own = record.programs[0]
    assert list(own.parts_s) == ["imports", "model", "data", "first step"]
    assert own.seconds == (own.first_step_s,)
    assert 0.8 * own.first_step_s < sum(own.parts_s.values()) <= own.first_step_s


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--part", "scale", "--processes", "0,1"], "--processes = 0,1"),
        (["--part", "scale", "--processes", "two"], "with commas between"),
        (["--part", "scale", "--peer", "timm"], "--peer = timm"),
        (["--peer", "simmim"], "simmim=FOLDER"),
        (["--peer", "timm=x"], "simmim=FOLDER"),
        (["--peer", "torchvision"], "Known: huggingface, simmim, timm"),
        (["--peer", "simmim=.", f"encoder={small.SWIN}"], "models/simmim.py"),
        pytest.param(["--peer", "huggingface", *SMALL_VIT], "this one knows Swin", marks=pytest.mark.long),
    ],
)
def test_a_program_that_cannot_be_compared_is_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mimbench.main(["bench", "digits_simmim", "--batch", "2", "--runs", str(tmp_path), *words]) == mimbench.WRONG
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_checkout_that_is_broken_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = tmp_path / "with a space"
    (checkout / "models").mkdir(parents=True)
    (checkout / "models" / "simmim.py").touch()
    (checkout / "config.py").write_text("broken = (")
    asked = ["bench", "digits_simmim", "--batch", "2", "--runs", str(tmp_path / "runs"), "--peer", f"simmim={checkout}"]
    assert mimbench.main([*asked, f"encoder={small.SWIN}", "training.device=cpu"]) == mimbench.WRONG
    said = capsys.readouterr().err
    assert f"--peer = simmim={checkout}" in said
    assert "SyntaxError: '(' was never closed (config.py, line 1)" in said


def test_a_place_without_room_for_the_record_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").touch()
    assert mimbench.main(["bench", "digits_simmim", "--runs", str(tmp_path / "runs")]) == mimbench.WRONG
    captured = capsys.readouterr()
    assert "runs is not a folder" in captured.err
    assert not captured.out


@pytest.mark.parametrize("given", [["--rounds", "0"], ["--batch", "0"], ["--warm-up", "-1"], ["--threads", "0"]])
def test_numbers_that_time_nothing_are_refused(capsys: pytest.CaptureFixture[str], given: list[str]) -> None:
    assert mimbench.main(["bench", "digits_simmim", *given]) == mimbench.WRONG
    assert f"{given[0]} = {given[1]}" in capsys.readouterr().err
