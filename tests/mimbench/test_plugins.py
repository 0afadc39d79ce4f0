"""Plugins: the example package installed and used from end to end, and packages that are broken in every way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import mimbench
from benchmarks import plugins
from benchmarks.catalogue.tasks import TASKS, find_task
from benchmarks.families import table
from benchmarks.families.table import family_named, family_of
from tests.conftest import MadeOnce
from tests.support.command import ROOT, here
from tests.support.random_weights import randomise

SHORT = {"training.epochs": 2, "training.batch_size": 16, "training.schedule.warmup_epochs": 1}


@pytest.fixture
def example(made_once: MadeOnce, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example package, installed by pip into a folder that Python imports from."""

    def install(folder: Path) -> None:
        source = folder / "source"
        copied = [
            path for path in (ROOT / "examples" / "plugin").rglob("*") if path.suffix in (".py", ".toml", ".yaml")
        ]
        for path in copied:
            place = source / path.relative_to(ROOT / "examples" / "plugin")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-index"]
        options = ["--no-deps", "--no-build-isolation", "--target", str(folder / "packages")]
        subprocess.run([*pip, *options, str(source)], check=True, capture_output=True)

    folder = made_once("example plugin", install) / "packages"
    monkeypatch.syspath_prepend(str(folder))
    yield from _afresh(folder)


def _afresh(folder: Path) -> Iterator[Path]:
    """Let plugins be found anew before a test, and after it."""
    _forget()
    yield folder
    _forget()


def _forget() -> None:
    table.plugin_families.cache_clear()
    plugins.forget()


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that Python imports from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield from _afresh(tmp_path)
    for name in [name for name in sys.modules if (tmp_path / f"{name}.py").exists()]:
        del sys.modules[name]


def add_package(folder: Path, name: str, group: str, entry: str, code: str = "") -> None:
    """Put an installed package there with one entry point."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    about = folder / f"{module}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(f"[mimbench.{group}]\n{entry}\n")


def test_without_plugins_nothing_is_found_and_every_table_is_as_it_was() -> None:
    assert plugins.every() == []
    assert "digits" in TASKS
    assert len(TASKS) == len(TASKS.own)
    assert here("list", "plugins").stdout.endswith("none is installed\n")


def test_a_pretraining_and_a_transfer_by_the_example_alone(example: Path, small_digits: Path, tmp_path: Path) -> None:
    """Its family is pretrained, its task is trained with its callback, and its column is in the report."""
    assert example.is_dir()
    smaller = {"encoder": "patchnet_tiny", "image_size_px": 32, "masking.mask_patch_size_px": 8}
    pretrained = mimbench.pretrain(
        "digits_simmim", data=small_digits, overrides=SHORT | smaller, runs=tmp_path / "runs", progress=False
    )
    assert pretrained.record.environment.packages["mimbench-example"] == "0.3.0"
    run = mimbench.transfer(
        "parity",
        str(pretrained.encoder),
        data=tmp_path / "parity",  # which the task writes
        overrides={"training.callbacks": ["weight-norm"], "training.epochs": 2},
        runs=tmp_path / "runs",
        label="patchnet",
        progress=False,
    )
    assert run.record.environment.packages["mimbench-example"] == "0.3.0"
    assert run.record.load_report is not None
    assert run.record.load_report.coverage_percent == 100
    assert set(run.record.metrics) == {"top1"}
    lines = (run.folder / "weight_norm.csv").read_text().splitlines()
    assert lines[0] == "step,norm"
    norms = [float(line.split(",")[1]) for line in lines[1:]]
    assert len(norms) > 2
    assert len({*norms}) == len(norms), "the weights change from line to line"
    board = mimbench.leaderboard(tmp_path / "runs", references="none", out=tmp_path / "report", formats=["html", "csv"])
    assert list(board["example_started"]) == [run.record.started_at[:10]]
    assert "Started" in (tmp_path / "report" / "leaderboard.html").read_text()


def test_its_family_has_maps_of_its_stages(example: Path) -> None:
    assert example.is_dir()
    assert family_named("resnet50").name == "ResNet"
    from benchmarks.engine.backbone import is_known

    assert is_known("patchnet_tiny")
    from mimbench_example.family import PatchNets

    assert family_named("patchnet_tiny") is PatchNets
    encoder = mimbench.load("random:patchnet_tiny", image_size_px=64)
    assert type(family_of(encoder.module)) is PatchNets
    images = torch.rand(1, 3, 64, 96)
    maps = encoder.features(images, normalised=True)
    found = images
    for stage, each in zip(encoder.module.stages, maps.values(), strict=True):
        found = stage(found)
        assert each.shape == found.shape
    assert encoder.strides == (4, 8, 16, 32)


def test_its_layout_is_read_with_proof_and_its_package_is_on_record(example: Path, tmp_path: Path) -> None:
    assert example.is_dir()
    model = randomise(
        timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64, embed_dim=128, depth=2, num_heads=2)
    )
    renamed = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("blocks.", "layer_").replace("patch_embed.proj", "patches")
        renamed[f"trunk.{name}"] = tensor.clone()
    save_file(renamed, tmp_path / "theirs.safetensors")
    encoder = mimbench.load(tmp_path / "theirs.safetensors", allow_implausible_weights=True)
    assert (encoder.source_format, encoder.report.coverage_percent) == ("example-vit", 100)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model.eval()(images)
    torch.testing.assert_close(encoder.pooled(images, normalised=True), wanted)
    assert plugins.used() == {"mimbench-example": "0.3.0"}
    assert "example-vit" in here("list", "formats").stdout


def test_lists_and_the_doctor_say_where_a_thing_comes_from(example: Path) -> None:
    assert example.is_dir()
    listed = here("list", "plugins").stdout
    for group, name in (
        ("tasks", "parity"),
        ("families", "patchnet"),
        ("layouts", "example-vit"),
        ("columns", "started"),
    ):
        (line,) = (line for line in listed.splitlines() if line.split()[:2] == [group, name])
        assert line.split()[2:] == ["mimbench-example", "0.3.0", "ok"]
    tasks = here("list", "tasks").stdout.splitlines()
    (line,) = (line for line in tasks if line.startswith("parity"))
    assert "mimbench-example 0.3.0" in line
    (line,) = (line for line in tasks if line.startswith("digits "))
    assert "mimbench-example" not in line


def test_help_and_built_in_work_import_no_plugin(packages: Path) -> None:
    add_package(packages, "heavy", "tasks", "heavy = heavy:TASK", "raise SystemExit('imported')")
    for arguments in (["transfer", "--help"], ["--help"]):
        done = here(*arguments)
        assert "imported" not in done.stdout + done.stderr
    assert find_task("digits").name == "digits"
    assert "heavy" not in sys.modules
    assert [plugin.name for plugin in plugins.installed("tasks")] == ["heavy"]


@pytest.mark.parametrize(
    ("entry", "code", "words"),
    [
        ("broken = broken_package:TASK", "import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("broken = broken_package:TASK", "raise OSError('\x1b[31mred')", "OSError: \\x1b[31mred"),
        ("broken = broken_package:TASK", "raise SystemExit(3)", "can be imported (SystemExit: 3)"),
        ("broken = broken_package:TASK", "TASK = 3", "an object of benchmarks.catalogue.task:Task (it is int)"),
        ("broken = broken_package:ABSENT", "", "has no attribute 'ABSENT'"),
        (
            "broken = broken_package:TASK",
            "from benchmarks.catalogue.tasks import TASKS\nTASK = TASKS['digits']",
            "under the name that it has itself (digits)",
        ),
    ],
)
def test_a_broken_plugin_is_named_with_its_package_and_hides_nothing(
    packages: Path, entry: str, code: str, words: str
) -> None:
    add_package(packages, "broken-package", "tasks", entry, code)
    with pytest.raises(mimbench.UserError) as raised:
        find_task("broken")
    said = str(raised.value)
    assert said.startswith("plugin broken (mimbench.tasks) of broken-package 1.2 = ")
    assert words in said
    assert "\n  remedy: " in said
    listed = here("list", "tasks")
    assert listed.returncode == 0
    assert "digits" in listed.stdout
    assert "broken" not in listed.stdout
    assert "warning: left out: plugin broken (mimbench.tasks) of broken-package 1.2" in listed.stderr
    assert here("list", "tasks").stderr == "", "it is said once"
    assert "broken-package" in here("list", "plugins").stdout


def test_a_group_that_is_misspelt_is_listed_with_the_nearest(packages: Path) -> None:
    add_package(packages, "typo", "task", "parity = typo:TASK")
    said = " ".join(here("list", "plugins").stdout.split())
    assert "task parity typo 1.2 no group of mimbench's. Did you mean tasks?" in said


def test_a_name_that_is_mimbenchs_own_stays_its_own(packages: Path) -> None:
    code = "from benchmarks.catalogue.tasks import TASKS\nTASK = TASKS['coco'].model_copy(update={'name': 'digits'})"
    add_package(packages, "thief", "tasks", "digits = thief:TASK", code)
    assert find_task("digits").kind == "classification"
    listed = here("list", "tasks")
    assert [line.split()[2] for line in listed.stdout.splitlines() if line.startswith("digits ")] == ["classification"]
    assert "plugin digits (mimbench.tasks) of thief 1.2" in listed.stderr
    assert "not mimbench's own" in listed.stderr


def test_two_packages_of_one_name_are_both_refused(packages: Path) -> None:
    code = "from benchmarks.catalogue.tasks import TASKS\nTASK = TASKS['coco'].model_copy(update={'name': 'twice'})"
    for name in ("one", "other"):
        add_package(packages, name, "tasks", f"twice = {name}:TASK", code)
    with pytest.raises(mimbench.UserError, match=r"of other 1\.2 = (.|\n)*one 1\.2 adds it as well"):
        find_task("twice")


def test_a_family_may_not_take_the_models_of_others(packages: Path) -> None:
    code = (
        "from timm.models.resnet import ResNet\nfrom benchmarks.families.family import Family\n"
        "class Mine(Family):\n    name, kind = 'mine', ResNet\n"
    )
    add_package(packages, "taker", "families", "mine = taker:Mine", code)
    assert family_of(timm.create_model("resnet10t", num_classes=0)).name == "ResNet"
    assert (
        "a kind of the package's own" in here("list", "plugins").stdout.replace("\n", " ")
        or table.plugin_families() == ()
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("    def write(self, step, values):\n        raise ValueError('of theirs')", "ValueError: of theirs"),
        ("    def begin(self, run, model):\n        raise RuntimeError('at once')", "RuntimeError: at once"),
    ],
)
def test_a_callback_that_fails_ends_the_run_and_the_record_says_why(
    packages: Path, small_digits: Path, tmp_path: Path, code: str, words: str
) -> None:
    head = "from benchmarks.engine.track.callback import Callback\nclass Mine(Callback):\n"
    add_package(packages, "watcher", "callbacks", "mine = watcher:Mine", head + code)
    with pytest.raises(mimbench.WorkFailed, match="mine"):
        mimbench.pretrain(
            "digits_simmim",
            data=small_digits,
            overrides={**SHORT, "training.callbacks": ["mine"]},
            runs=tmp_path / "runs",
            progress=False,
        )
    (row,) = mimbench.records(tmp_path / "runs").to_dict("records")
    assert row["status"] == "failed"
    assert words in row["error"]


def test_a_callback_that_nobody_adds_is_refused_before_training(small_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(mimbench.UserError, match=r"training\.callbacks = mine"):
        mimbench.pretrain(
            "digits_simmim",
            data=small_digits,
            overrides={**SHORT, "training.callbacks": ["mine"]},
            runs=tmp_path / "runs",
        )
    assert not (tmp_path / "runs").exists()
