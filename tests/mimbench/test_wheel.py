"""What is built from this repository and installed elsewhere: the wheel runs, the sdist holds what a person reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
import venv
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

import mimbench
from benchmarks.version import COMMIT
from tests.conftest import MadeOnce
from tests.support import small
from tests.support.command import ROOT
from tests.support.runs import only_run, record_of
from tests.support.sources import repository_files


class Installed(NamedTuple):
    """A virtual environment with the wheel, whose other packages are those of the tests."""

    python: Path
    command: Path
    sdist: Path
    home: Path
    """A git repository of somebody else, in which the environment lies."""
    commit: str
    """What sdist and wheel were built from."""

    def run(self, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [str(each) for each in arguments],
            cwd=cwd or self.home,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )


def _sources(folder: Path) -> Path:
    """Copy the files of a clone."""
    for name in repository_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def _commit(folder: Path) -> str:
    """Make a folder a git repository with one commit of all that lies in it; return the commit."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], cwd=folder, check=True)
    subprocess.run([*git, "add", "--all"], cwd=folder, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", folder.name], cwd=folder, check=True)
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip()


def _build(sources: Path, what: str, built: Path) -> Path:
    code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(built)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=sources, capture_output=True, text=True, check=True)
    return built / done.stdout.splitlines()[-1]


def _install(folder: Path) -> None:
    """Build an sdist of a commit and a wheel of the sdist; install it inside a git repository of somebody else."""
    sources, built, home = _sources(folder / "sources"), folder / "built", folder / "somebody"
    built.mkdir()
    home.mkdir()
    (folder / "commit").write_text(_commit(sources))
    with tarfile.open(_build(sources, "sdist", built)) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    wheel = _build(unpacked, "wheel", built)
    shutil.rmtree(sources)
    shutil.rmtree(unpacked)
    _commit(home)
    place = home / ".venv"
    venv.create(place, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # not its own .pth files
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "--python", str(place / "bin" / "python")]
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)], capture_output=True, check=True
    )


@pytest.fixture
def installed(made_once: MadeOnce) -> Installed:
    """The wheel, installed elsewhere; no test may change it."""
    if COMMIT.is_file():
        pytest.skip("needs a clone: this is a copy of the code, which states the commit that it was taken from")
    folder = made_once("installed", _install)
    (sdist,) = (folder / "built").glob("*.tar.gz")
    programs = folder / "somebody" / ".venv" / "bin"
    return Installed(
        programs / "python", programs / "mimbench", sdist, folder / "somebody", (folder / "commit").read_text()
    )


def test_the_wheel_knows_its_version_and_the_commit_it_was_built_from(
    installed: Installed, digits: Path, tmp_path: Path
) -> None:
    said = installed.run(installed.command, "--version").stdout
    assert said == f"mimbench {mimbench.__version__} (commit {installed.commit[:12]})\n"
    data = small.cut_digits(digits, tmp_path / "data")
    encoder = ["--encoder", f"random:{small.SWIN}"]
    command = ["transfer", "digits", "--recipe", "digits_knn", *encoder, f"data.root={data}", "k=5", "other_k=[]"]
    done = installed.run(installed.command, *command, "--runs", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    record = record_of(only_run(tmp_path / "runs"))
    assert record.environment.packages["mimbench"] == mimbench.__version__
    assert record.environment.git_commit == installed.commit[:12]
    report = ["report", "leaderboard", tmp_path / "runs", "--out", tmp_path / "report"]
    assert installed.run(installed.command, *report).returncode == 0
    assert (tmp_path / "report" / "leaderboard.html").is_file()


def test_its_pipelines_recipes_and_clusters_are_there(installed: Installed) -> None:
    listed = installed.run(installed.command, "list", "pipelines").stdout
    assert {path.stem for path in (ROOT / "slurm" / "pipelines").glob("*.yaml")} <= set(listed.split())
    code = (
        "import json, slurm, transfer; from benchmarks.config import recipe_names; from pathlib import Path;"
        "print(json.dumps([slurm.__file__, recipe_names('transfer'), sorted(p.name for p in"
        " Path(slurm.__file__).parent.joinpath('clusters').iterdir())]))"
    )
    place, recipes, clusters = json.loads(installed.run(installed.python, "-c", code).stdout)
    assert Path(place).is_relative_to(installed.home)
    assert recipes == sorted(path.stem for path in (ROOT / "benchmarks" / "recipes" / "transfer").glob("*.yaml"))
    assert clusters == sorted(path.name for path in (ROOT / "slurm" / "clusters").iterdir())


DIGITS = "{recipe: digits_finetune, data: data/digits, encoders: [simmim, scratch], overrides: [%s]}"
FINETUNING = "training.epochs=2, training.schedule.warmup_epochs=1, evaluate_every_epochs=2, data.subset.per_class=5"
PRETRAINING = "training.epochs=1, training.schedule.warmup_epochs=0, validation=null"
SHORTER = (f"pretrain.simmim.overrides=[{PRETRAINING}]", f"tasks={{digits: {DIGITS % FINETUNING}}}")
"""What makes a demo of a few seconds."""


@pytest.mark.long
def test_the_demo_runs_from_the_wheel_and_prints_a_few_lines_with_its_overview_and_its_pictures(
    installed: Installed, tmp_path: Path
) -> None:
    done = installed.run(installed.command, "demo", *SHORTER, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) < 60
    assert re.search(r"^simmim +\d", done.stdout, re.MULTILINE), "the overview"
    assert "Like for like" not in done.stdout, "the tables are in the files"
    pages = re.findall(r"^written: (\S+\.html) and [1-9]\d* PNG files", done.stdout, re.MULTILINE)
    assert [Path(page).name for page in pages] == ["reconstruct.html", "show.html"]
    assert all((tmp_path / page).is_file() for page in pages)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/record.json")]
    assert {record["status"] for record in records} == {"completed"}
    assert {record["environment"]["packages"]["mimbench"] for record in records} == {mimbench.__version__}


SCRIPT = """
from pathlib import Path

import mimbench
import torch


def distances(files: list[Path]) -> torch.Tensor:
    encoder = mimbench.load("runs/RUN", image_size_px=224)
    images = encoder.read(files)
    maps: dict[int, torch.Tensor] = encoder.features(images)
    reveal_type(maps[16])
    found = encoder.pooled(images)
    assert encoder.report.coverage_percent == 100.0
    mean: tuple[float, ...] = encoder.normalisation.mean
    print(encoder.strides, mean, encoder.sha256)
    return torch.cdist(found, found)


def compare(name: str) -> dict[str, float]:
    try:
        run: mimbench.RunResult = mimbench.transfer(
            "digits", name, overrides={"training.epochs": 3}, stage="supervised", progress=False
        )
    except (mimbench.Stopped, mimbench.UserError) as error:
        raise SystemExit(str(error)) from error
    pretrained = mimbench.pretrain("digits_simmim", data="data", seed=1)
    print(mimbench.evaluate("digits", run.folder).record.status, pretrained.encoder, mimbench.__version__)
    mimbench.records("runs").head()
    mimbench.leaderboard("runs", baseline="scratch", out="report").head()
    return run.scores
"""


@pytest.mark.long
def test_a_persons_program_is_checked_in_strict_mode(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "wrong.py").write_text("import mimbench\n\nmimbench.transfer('digits', 1, sed=2).score\n")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", tmp_path / "cache"]
    done = installed.run(*mypy, "--python-executable", installed.python, "script.py", "wrong.py", cwd=tmp_path)
    lines = done.stdout.splitlines()
    script, wrong = ([line for line in lines if line.startswith(name)] for name in ("script.py", "wrong.py"))
    assert [line.partition(": note: ")[2] for line in script] == ['Revealed type is "torch._tensor.Tensor"']
    assert ["[arg-type]" in done.stdout, "[call-arg]" in done.stdout, "[attr-defined]" in done.stdout] == [True] * 3
    assert len(wrong) >= 3


def test_the_sdist_holds_all_that_git_knows_but_how_this_repository_is_kept(installed: Installed) -> None:
    with tarfile.open(installed.sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    known = repository_files()
    assert {name for name in known - names if not name.startswith(".")} == set()
    made = {name for name in names - known if not name.startswith("mimbench.egg-info/")}
    assert made == {"PKG-INFO", "setup.cfg", "benchmarks/COMMIT"}


def test_the_description_of_the_wheel_leads_nowhere_that_only_the_repository_has(installed: Installed) -> None:
    code = "import importlib.metadata as m; print(m.metadata('mimbench').get_payload())"
    text = installed.run(installed.python, "-c", code).stdout
    assert "# mimbench" in text
    assert "Installing says how with pip" in text
    tokens = MarkdownIt().parse(text)
    inside = [child for token in tokens for child in token.children or []]
    addresses = [str(child.attrs.get("href", child.attrs.get("src"))) for child in inside if child.attrs]
    assert [address for address in addresses if not address.startswith("https://")] == []
