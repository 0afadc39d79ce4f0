"""`mimbench doctor`, as typed, on this machine and on machines that lack something."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

import benchmarks.doctor
from benchmarks.doctor import EXTRAS, PURPOSES, folder, gpus
from tests.support.command import ROOT, mimbench

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[ ]", each)[0] for each in requirements}


def line_of(output: str, name: str) -> str:
    [line] = [line for line in output.splitlines() if re.match(rf"  \w+ +{re.escape(name)} ", line)]
    return line


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Ask the doctor on a machine with Pillow 13, an old pycocotools, and neither Slurm nor git."""
    place = tmp_path_factory.mktemp("packages")
    for name, version in (("pillow", "13.0.0"), ("pycocotools", "1.0")):
        info = place / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("PATH", str(place))
        return mimbench("doctor", path=place)


def test_every_dependency_says_what_it_is_for() -> None:
    assert {name.lower() for name in names(PROJECT["dependencies"])} == PURPOSES.keys()
    assert PROJECT["optional-dependencies"].keys() == EXTRAS.keys() | {"all"}


def test_this_machine_is_fine_and_every_dependency_is_listed() -> None:
    done = mimbench("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Everything the base needs is here.\n")
    for name in names(PROJECT["dependencies"]):
        assert line_of(done.stdout, name).split()[:3] == ["ok", name, importlib.metadata.version(name)]
    assert "torch, torchvision and timm fit together" in line_of(done.stdout, "import")


def test_pillow_13_is_named_with_the_reason_and_the_command(lacking: subprocess.CompletedProcess[str]) -> None:
    line = line_of(lacking.stdout, "pillow")
    assert line.split()[:3] == ["wrong", "pillow", "13.0.0,"]
    assert "RandAugment" in line
    lines = lacking.stdout.splitlines()
    remedy = lines[lines.index(line) + 1]
    assert remedy.startswith(f"           remedy: {sys.executable} -m pip install ")
    assert re.search(r"'pillow(<13,>=11|>=11,<13)'$", remedy)


def test_only_the_base_decides_the_exit_code(lacking: subprocess.CompletedProcess[str]) -> None:
    assert "pycocotools 1.0, needs >=2.0.8" in line_of(lacking.stdout, "detection")
    assert re.search(r"remedy: .* -e '?\S+\[detection\]'?$", lacking.stdout, re.MULTILINE)
    assert lacking.stdout.endswith("The base is broken: pillow.\n")
    assert lacking.returncode == 1


def test_slurm_and_git_that_are_missing_come_with_their_commands(lacking: subprocess.CompletedProcess[str]) -> None:
    for command in ("sbatch", "squeue", "scontrol"):
        assert line_of(lacking.stdout, command).split()[0] == "missing"
    assert "sudo apt install slurm-client" in lacking.stdout
    assert line_of(lacking.stdout, "git").split()[0] == "warning"
    assert "remedy: sudo apt install git\n" in lacking.stdout


def test_bare_python_gets_an_answer_not_a_traceback(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    done = subprocess.run(
        [str(python), "-m", "mimbench", "doctor"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert line_of(done.stdout, "python").split()[0] == "ok"
    assert line_of(done.stdout, "mimbench").split()[0] == "missing"
    assert f"remedy: {python} -m pip install -c {ROOT}/constraints.txt -e {ROOT}\n" in done.stdout
    assert "No module named" in line_of(done.stdout, "import")


def test_free_room_is_the_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_gb = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize / 1e9
    monkeypatch.setattr(benchmarks.doctor, "ROOM_GB", free_gb / 2)
    assert folder(tmp_path).state == "ok"
    monkeypatch.setattr(benchmarks.doctor, "ROOM_GB", free_gb * 2)
    assert folder(tmp_path).state == "warning"
    assert "--runs" in folder(tmp_path).remedy


def test_gpu_that_torch_cannot_see_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus([], "13.2").state == "missing"
    assert gpus([], "13.2").remedy == ""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert gpus([], "13.2").state == "warning"
    assert "it must support CUDA 13.2" in gpus([], "13.2").remedy
    assert gpus(["H100", "H100"], "13.2").found == "H100, H100"
    old = gpus(["Tesla V100-SXM2-32GB"], "13.2", without_bf16=True)
    assert (old.state, old.found) == ("warning", "Tesla V100-SXM2-32GB, without bf16")
    assert "training.precision=fp16" in old.remedy


def test_a_copy_that_states_its_commit_needs_no_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert benchmarks.doctor.git().state == "warning"
    monkeypatch.setattr(benchmarks.doctor, "COMMIT", tmp_path / "COMMIT")
    (tmp_path / "COMMIT").write_text("0123456789ab")
    assert benchmarks.doctor.git().state == "ok"
