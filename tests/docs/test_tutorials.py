"""The tutorials, each from an empty folder: files are written and commands are run as the page has them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.conftest import real_slurm
from tests.slurm.throwaway_cluster import Cluster
from tests.support.command import ROOT, here

PAGES = ROOT / "docs" / "tutorials"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHORTER = {"=30\n": "=2\n", "warmup_epochs=3\n": "warmup_epochs=1\n", "range(5)": "range(1)"}
SHORTER |= {"name: first-comparison\n": "name: first-comparison\nseeds: [0]\n", "seeds: [0, 1]\n": "seeds: [0]\n"}
"""What the tests change in the files: trainings of two epochs for thirty and of one for five, and one seed."""

pytestmark = pytest.mark.long


def _blocks(page: str) -> list[tuple[str, str, str]]:
    """Return each fenced block of a page as language, title and text."""
    return BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the images of the first tutorial."""
    [written] = [text for _, title, text in _blocks("first_comparison") if title == "write_images.py"]
    (tmp_path / "write_images.py").write_text(written)
    subprocess.run([sys.executable, "write_images.py"], cwd=tmp_path, check=True)
    return tmp_path


def _follow(page: str, folder: Path, **environment: str) -> str:
    """Write the files of a page, run its commands in order, and return all that they printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    printed = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in {**environment, "PATH": path, "PYTHONPATH": str(ROOT)}.items():
            patch.setenv(name, value)
        for language, title, text in _blocks(page):
            if title:
                for long, short in SHORTER.items():
                    text = text.replace(long, short)
                (folder / title).write_text(text)
            for line in text.splitlines() if language == "bash" and not title else ():
                done = _run(line)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                printed += done.stdout
    return printed


def _run(line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash; `mimbench` with the words that bash makes of it, in this process, which has torch already."""
    verb, _, words = line.partition(" ")
    if verb != "mimbench":
        return subprocess.run(["bash", "-euc", line], capture_output=True, text=True, timeout=600)
    made = subprocess.run(["bash", "-euc", rf"printf '%s\0' {words}"], capture_output=True, text=True, check=True)
    return here(*made.stdout.split("\0")[:-1])


def _lines_shown(page: str) -> Iterator[str]:
    for language, _, text in _blocks(page):
        if language == "text":
            yield from text.splitlines()


def test_a_first_comparison_on_ones_own_images(folder: Path) -> None:
    printed = _follow("first_comparison", folder)
    [report] = folder.glob("pipelines/first-comparison-*/report/leaderboard.html")
    assert f"written: {report.relative_to(folder)}" in printed
    assert all(encoder in report.read_text() for encoder in ("simmim", "scratch", "pixels"))
    assert list((folder / "pictures").glob("*.png"))
    assert (folder / "neighbours" / "show.html").is_file()


def test_a_checkpoint_of_somebody_else(folder: Path) -> None:
    printed = _follow("checkpoint_of_others", folder)
    for line in _lines_shown("checkpoint_of_others"):
        assert line in printed
    assert "equal: tokens of 4 images" in printed
    rows = (folder / "report" / "leaderboard.csv").read_text()
    assert all(encoder in rows for encoder in ("theirs", "pixels"))


def test_a_study_on_slurm(folder: Path) -> None:
    with real_slurm(Cluster) as cluster:
        printed = _follow("study_on_slurm", folder, **cluster.environment)
    assert "#SBATCH" in printed
    [report] = folder.glob("pipelines/first-study-*/report/leaderboard.html")
    assert (folder / "site" / "index.html").is_file()
    assert report.stat().st_size > 0
