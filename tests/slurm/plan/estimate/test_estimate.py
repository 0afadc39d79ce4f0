"""A plan of which nothing was ever run: every figure is marked, and each thing that is missing has its remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mimbench
from benchmarks.config import load_recipe
from benchmarks.runs.bench_record import BenchRecord, Ratio, Timed
from benchmarks.runs.record import Environment, RecipeUse
from pretrain.recipe import PretrainRecipe
from slurm.graph.cluster import LocalCluster, SlurmCluster
from slurm.plan.estimate.estimate import Estimate, Unknown
from slurm.plan.plan import describe_plan
from tests.slurm.studies import EIGHT_GPUS, OVERRIDES, leave_run, plan
from tests.support.command import ROOT

pytestmark = pytest.mark.usefixtures("study_folder")
H100 = EIGHT_GPUS.model_copy(update={"device": "NVIDIA H100 80GB HBM3", "training_images": {"data": 6000}})
ONE = Ratio(median=1.0, low=1.0, high=1.0)


def leave_bench(device: str, per_second: float, step_flops: float = 8e9, **changed: Any) -> None:
    """Write what `mimbench bench` leaves of steps of 8 images."""
    recipe = load_recipe(PretrainRecipe, "pretrain", "digits_simmim", ["data.root=data", "image_size_px=64"])
    timed = Timed(
        name="mimbench",
        seconds=(8 / per_second,),
        cpu_seconds=(1.0,),
        ratio=ONE,
        cpu_ratio=ONE,
        per_second=per_second,
        peak_memory_mb=1.0,
        start_s=1.0,
        first_step_s=1.0,
    )
    record = BenchRecord(
        recipe=RecipeUse(name=recipe.name, digest="d", resolved=recipe.config.model_dump(mode="json"), overrides=()),
        part="step",
        batch_size=8,
        threads=1,
        environment=Environment(python="3", packages={}, git_commit=None, device=device, host="h"),
        programs=(timed,),
        matrix_flops_per_second=1e12,
        step_flops=step_flops,
        measured_at=f"2026-01-01T00:00:0{len(list(Path('runs').glob('bench/*')))}+00:00",
    )
    record.model_copy(update=changed).write(Path("runs"))


def test_every_figure_of_what_was_never_run_is_marked() -> None:
    planned = plan(H100)
    pretraining, transfer = planned.forecasts["pretrain.simmim"], planned.forecasts["digits.simmim.seed0"]
    assert pretraining.seconds is None
    assert pretraining.estimated is not None
    assert transfer.estimated is not None
    lines = "\n".join(describe_plan(planned)).splitlines()
    one, two = (
        next(line for line in lines if line.startswith(name)).split("10m")[1].split() for name in planned.forecasts
    )
    assert one[0] == "320,000"  # counted: 1000 steps of 320
    assert two[0].replace(",", "").isdigit()
    for row in (one, two):
        assert all(cell in ("-", "GB") or cell.startswith("~") for cell in row[1:]), row
    text = "\n".join(describe_plan(planned))
    assert "still to do: 2 trainings, ~" in text
    assert "2 of them by arithmetic" in text
    assert "~ by arithmetic, not measured: " in text
    assert "of the peak of H100 SXM, 67 TFLOPS" in text  # of fp32, in which the digits are trained


def test_measured_figures_come_before_estimated_ones_and_are_not_marked() -> None:
    leave_run("one")
    found = plan(H100).forecasts["pretrain.simmim"]
    assert (found.seconds, found.estimated) == (800.0, None)
    assert isinstance(found.estimate, Estimate)  # of the memory, which the run had for another share of the batch
    row = next(line for line in "\n".join(describe_plan(plan(H100))).splitlines() if line.startswith("pretrain.simmim"))
    assert "13m20s" in row
    assert "~13m20s" not in row
    text = "\n".join(describe_plan(plan(H100)))
    assert "1 of them by arithmetic" in text


def test_the_time_is_operations_by_rate() -> None:
    """3 passes of 320,000 images of Swin-L on 8 GPUs, at a share of 989 TFLOPS."""
    large = "encoder=swin_large_patch4_window7_224, image_size_px=224, training.precision=bf16, training.workers=8"
    estimate = (
        plan(H100, f"pretrain.simmim.overrides=[{', '.join(OVERRIDES)}, {large}]")
        .forecasts["pretrain.simmim"]
        .estimated
    )
    assert estimate is not None
    assert estimate.flops / 1e9 == pytest.approx(3 * 2 * 34.5, rel=0.03)  # arXiv:2103.14030, table 1; and the head
    fastest = estimate.flops * 320_000 / 8 / 989e12
    assert 2 * fastest < estimate.seconds.low < 4 * fastest + 30
    assert estimate.images_per_second.high == pytest.approx(320_000 / (estimate.seconds.low - 10), rel=0.01)
    assert estimate.seconds.low < estimate.seconds.high


@pytest.mark.parametrize(
    ("cluster", "reason", "remedy"),
    [
        (EIGHT_GPUS, "which device it runs on", "device: H100"),
        (H100.model_copy(update={"device": "Z100"}), "the device Z100", "correct `device`"),
        (H100.model_copy(update={"training_images": {"data": 5}}), "how long it is", "training.batch_size=5 or less"),
        (LocalCluster(executor="local", processes_per_stage=2), "how fast its CPUs are", "mimbench bench"),
        (
            SlurmCluster(executor="slurm", gpus_per_node=0, processes_per_node=2, time_limit="10m"),
            "how fast its CPUs are",
            "mimbench bench",
        ),
    ],
    ids=["no device", "unknown device", "few images", "local CPU", "CPU cluster"],
)
def test_what_is_missing_is_named_with_its_remedy(cluster: SlurmCluster, reason: str, remedy: str) -> None:
    found = plan(cluster).forecasts["pretrain.simmim"]
    assert isinstance(found.estimate, Unknown)
    assert found.unknown == found.estimate
    assert reason in found.estimate.reason
    assert remedy in found.estimate.remedy
    if isinstance(cluster, SlurmCluster):
        (line,) = [line for line in describe_plan(plan(cluster)) if f": nothing says {found.estimate.reason}" in line]
        assert line.startswith("? pretrain.simmim")


def test_a_device_without_bf16_is_named_with_the_precision_that_it_has() -> None:
    """NVIDIA's sheet of the V100 has fp16 and fp32 alone; compute capability 8.0 was the first with bf16."""
    old = H100.model_copy(update={"device": "V100"})
    half, brain = (
        plan(old, f"pretrain.simmim.overrides=[{', '.join(OVERRIDES)}, training.precision={precision}]")
        .forecasts["pretrain.simmim"]
        .estimate
        for precision in ("fp16", "bf16")
    )
    assert isinstance(half, Estimate)
    assert isinstance(brain, Unknown)
    assert (brain.reason[:30], brain.remedy) == ("what bf16 would take on V100 S", "set training.precision=fp16")


def test_a_data_set_of_unknown_size_names_the_field_that_says_it() -> None:
    found = plan(H100.model_copy(update={"training_images": {}})).forecasts["digits.simmim.seed0"].unknown
    assert found is not None
    assert found.reason == "how many images an epoch has"
    assert "training_images: {data: NUMBER} in the cluster file" in found.remedy


def test_a_folder_that_bears_a_data_sets_name_has_its_published_size() -> None:
    Path("data").rename("imagenet")
    Path("study.yaml").write_text(Path("study.yaml").read_text().replace("data: data", "data: imagenet"))
    found = plan(H100).forecasts["digits.simmim.seed0"]
    assert found.images is None
    assert found.estimated is not None
    epoch = 1_281_167 // 8 * 8  # without the ragged last batch
    assert found.estimated.images % epoch == 0 or found.estimated.images > 1_281_167


def test_a_bench_of_this_device_comes_before_the_table_and_one_of_another_does_not() -> None:
    leave_bench("NVIDIA A100-SXM4-40GB", 1000.0)
    leave_bench("cpu (2 threads)", 1000.0)
    elsewhere = plan(H100).forecasts["pretrain.simmim"].estimated
    assert elsewhere is not None
    assert "peak of H100 SXM" in elsewhere.source
    here = plan(H100.model_copy(update={"device": "A100"})).forecasts["pretrain.simmim"].estimated
    assert here is not None
    assert "1,000 GFLOP/s, as `mimbench bench` measured digits_simmim on NVIDIA A100-SXM4-40GB" in here.source
    cpu = plan(LocalCluster(executor="local")).forecasts["pretrain.simmim"].estimated
    assert cpu is not None
    assert "on cpu (2 threads)" in cpu.source
    counted = LocalCluster(executor="local", training_images={"data": 6000})
    assert "without a GPU" not in "\n".join(describe_plan(plan(counted)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("programs",), []),
        (("programs", 0, "seconds"), []),
        (("programs", 0, "seconds"), [0.0]),
        (("programs", 0, "per_second"), 0.0),
        (("programs", 0, "per_second"), 2000.0),
        (("step_flops",), 1e-300),
    ],
)
def test_a_bench_that_was_altered_is_none(place: tuple[str | int, ...], value: object) -> None:
    """Its speed is not what its rounds give, or it has none, by which nothing can be divided."""
    leave_bench("cpu (2 threads) \x1b[31m", 1000.0)
    counted = LocalCluster(executor="local", training_images={"data": 6000})
    (file,) = Path("runs/bench").iterdir()
    assert "digits_simmim on cpu (2 threads) \\x1b[31m" in "\n".join(describe_plan(plan(counted)))
    record = json.loads(file.read_bytes())
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    file.write_text(json.dumps(record))
    assert "mimbench bench` measured" not in "\n".join(describe_plan(plan(counted)))


def test_what_the_cluster_file_states_comes_before_all_else() -> None:
    leave_run("one")
    stated = H100.model_copy(update={"images_per_second": {"digits_simmim": 400.0}})
    assert plan(stated).forecasts["pretrain.simmim"].seconds == pytest.approx(100.0)


def test_one_gpu_exchanges_nothing_and_more_hold_less_of_a_divided_model() -> None:
    one = plan(H100.model_copy(update={"nodes": 1, "gpus_per_node": 1})).forecasts["pretrain.simmim"].estimated
    eight = plan(H100).forecasts["pretrain.simmim"].estimated
    assert one is not None
    assert eight is not None
    assert one.memory_mb.high > eight.memory_mb.high  # 320 images against 40
    changed = [*OVERRIDES, "training.sharded=true", "encoder=swin_large_window12", "image_size_px=192"]
    whole, divided = (
        plan(H100, f"pretrain.simmim.overrides=[{', '.join(each)}]").forecasts["pretrain.simmim"].estimated
        for each in ([*changed[:3], *changed[4:]], changed)
    )
    assert whole is not None
    assert divided is not None
    states = 16 * 197e6 * 7 / 8 / 1e6  # of weights, gradients and two moments, seven of eight parts
    assert whole.memory_mb.low - divided.memory_mb.low == pytest.approx(states, rel=0.05)


def test_zero_epochs_are_refused() -> None:
    with pytest.raises(Exception, match=r"training\.epochs"):
        plan(H100, "pretrain.simmim.overrides=[training.epochs=0]")


def test_the_plan_imports_no_torch() -> None:
    Path("mine.yaml").write_text(H100.to_yaml())
    asked = ["pipeline", "plan", "study.yaml", "--cluster", "mine.yaml", "--no-data-check"]
    code = f"import sys, mimbench; mimbench.main({asked!r}); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert found.stdout.splitlines()[-1] == "False", found.stderr


def test_the_disk_is_what_a_finished_run_left(simmim_run: Path) -> None:
    resolved = json.dumps(json.loads((simmim_run / "record.json").read_text())["recipe"]["resolved"])
    recipe = PretrainRecipe.model_validate_json(resolved)
    left = sum(path.stat().st_size for path in simmim_run.rglob("*.safetensors"))
    from slurm.plan.estimate.memory import disk_mb
    from slurm.plan.estimate.work import work_of
    from slurm.plan.speed import Training

    work = work_of(Training("pretrain", recipe, "digits_simmim", None, 1))
    assert work is not None
    assert disk_mb(work).low == pytest.approx(left / 1e6, rel=0.05)


def test_numbers_of_gpus_are_compared_by_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["pipeline", "estimate", "simmim_swin_base_192_800ep", "--device", "A100 80GB", "--gpus", "8,256"]
    assert mimbench.main([*asked, "--steps"]) == 0
    out = capsys.readouterr().out
    assert "3 passes x 22.6 GFLOP + 0.7 of the head = 68.3 GFLOP" in out  # 11.28 GMACs, as torch counts them
    assert "89.8M x 16 B" in out  # SimMIM (arXiv:2111.09886), table 2: 89.9M with the head
    eight, many = (line.split() for line in out.splitlines() if line.startswith("Swin-B  "))
    assert (eight[1], eight[2], eight[-1], many[1], many[2]) == ("8", "256", "whole", "256", "8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "H100"], "it means H100 SXM, H100 PCIe"),
        (["--device", "Z1"], "one device of the table"),
        (["--device", "T4", "--gpus", "0"], "--gpus = 0"),
        (["--device", "T4", "--gpus", "8,x"], "with commas between"),
        (["--device", "T4", "--gpus", "12", "training.batch_size=24"], "whole nodes of 8"),
        (["--device", "T4", "--gpus", "3"], "divides the batch (2048)"),
        (["--device", "T4", "--encoder", "convnext_base"], "a Swin, SwinV2, ViT or ResNet-50"),
        (["--device", "T4", "--images", "0"], "--images = 0"),
        (["--device", "A10", "--images", "2047"], "at most the number of training images (2047)"),
        *(
            (
                ["--device", "A10", f"encoder={{name: {name}, arguments: {{{words}}}}}"],
                "a Swin, SwinV2, ViT or ResNet-50",
            )
            for name, words in [
                ("swin_tiny_patch4_window7_224", "depths: [2, 2]"),
                ("swin_tiny_patch4_window7_224", "depths: [], num_heads: []"),
                ("vit_base_patch16_224", "num_heads: []"),
                ("vit_base_patch16_224", "patch_size: 0"),
                ("vit_base_patch16_224", "embed_dim: 0"),
            ]
        ),
        (["--device", "T4", "training.epochs=0"], "training.epochs"),
        (["--device", "T4"], "set training.precision=fp16"),
    ],
)
def test_what_cannot_be_estimated_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(["pipeline", "estimate", "simmim_swin_base_192_800ep", *words]) == mimbench.WRONG
    assert said in capsys.readouterr().err
