"""The embedded data set, held against scikit-learn's own copy."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.digits.folders import write_digits
from benchmarks.errors import UserError

SCANS, LABELS = load_digits(return_X_y=True)
ROWS = 1797  # UCI: "Optical Recognition of Handwritten Digits", the test set of 1,797


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits")
    write_digits(root)
    return root


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "copy"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def test_every_scan_is_in_exactly_one_split(written: Path) -> None:
    rows = [int(path.stem) for path in written.rglob("*.png")]
    assert sorted(rows) == list(range(ROWS))


def test_no_picture_is_in_two_splits(written: Path) -> None:
    splits: dict[bytes, set[str]] = {}
    for name, data in contents(written).items():
        splits.setdefault(data, set()).add(name.split("/")[0])
    assert [found for found in splits.values() if len(found) > 1] == []


@pytest.mark.parametrize(("split", "per_class"), [("train", 20), ("test", 60)])
def test_labelled_splits_are_balanced_and_carry_the_right_labels(written: Path, split: str, per_class: int) -> None:
    paths = list((written / split).rglob("*.png"))
    assert Counter(path.parent.name for path in paths) == {str(label): per_class for label in range(10)}
    assert [path for path in paths if LABELS[int(path.stem)] != int(path.parent.name)] == []


def test_unlabelled_split_holds_the_rest_and_no_folders(written: Path) -> None:
    found = list((written / "unlabelled").iterdir())
    assert len(found) == ROWS - 10 * (20 + 60)
    assert all(re.fullmatch(r"\d{4}\.png", path.name) for path in found)


@pytest.mark.parametrize("row", [0, 7, 898, 1796])
def test_picture_is_the_scan_enlarged_eight_times(written: Path, row: int) -> None:
    # Grey levels 0..16 of scikit-learn go to 0..255; bicubic as Pillow does it on 8-bit images.
    scan = np.array([[round(float(level) * 255 / 16) for level in line] for line in SCANS[row].reshape(8, 8)], np.uint8)
    expected = Image.frombytes("L", (8, 8), scan.tobytes()).resize((32, 32), Image.Resampling.BICUBIC)
    [path] = written.rglob(f"{row:04d}.png")
    with Image.open(path) as found:
        assert found.mode == "L"
        assert found.size == (32, 32)
        assert found.tobytes() == expected.tobytes()


def test_fingerprint_and_bytes_are_the_same_everywhere(written: Path, tmp_path: Path) -> None:
    again = write_digits(tmp_path)
    assert again == write_digits(written)
    assert again.startswith(f"{ROWS} images, content ")
    assert contents(tmp_path) == contents(written)


def test_writing_again_touches_nothing(copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    write_digits(copy)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.parametrize(
    "damage", ["flipped byte", "lost file", "stray file", "all gone", "damaged mark", "no mark yet"]
)
def test_damaged_copy_is_repaired(copy: Path, written: Path, damage: str) -> None:
    victim = next((copy / "test").rglob("*.png"))
    match damage:
        case "flipped byte":
            data = bytearray(victim.read_bytes())
            data[50] ^= 1
            victim.write_bytes(data)
        case "lost file":
            victim.unlink()
        case "stray file":
            shutil.copy(victim, victim.with_name("9999.png"))
        case "all gone":
            for split in ("unlabelled", "train", "test"):
                shutil.rmtree(copy / split)
        case "damaged mark":
            (copy / "digits.json").write_text('{"version": 1')
        case "no mark yet":  # interrupted: claimed, half written
            (copy / "digits.json").write_text('{"version": 1, "fingerprint": null}')
            shutil.rmtree(copy / "test")
    assert write_digits(copy) == write_digits(written)
    assert contents(copy) == contents(written)


def test_folders_of_someone_else_are_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "train" / "cat" / "mine.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"a picture")
    with pytest.raises(UserError) as caught:
        write_digits(tmp_path)
    assert theirs.read_bytes() == b"a picture"
    assert f"digits folder = {tmp_path}\n  rule:   without train, or written by this program" in str(caught.value)


WRITE = """
import sys
from pathlib import Path
from benchmarks.digits.folders import write_digits
print(write_digits(Path(sys.argv[1])))
"""


def test_two_that_write_at_once_do_not_write_over_each_other(tmp_path: Path) -> None:
    """The first is stopped in the middle; the second waits for it, and takes what it wrote."""
    root = tmp_path / "digits"
    command = [sys.executable, "-c", WRITE, str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as first:
        while not any(root.rglob("*.png")):
            assert first.poll() is None
        first.send_signal(signal.SIGSTOP)
        before = {path: path.stat().st_ino for path in root.rglob("*.png")}
        with subprocess.Popen(command, stdout=subprocess.PIPE) as second:
            while second.poll() is None and not _opened(second.pid, ".lock"):
                time.sleep(0.02)
            assert second.poll() is None
            first.send_signal(signal.SIGCONT)
            assert first.communicate()[0] == second.communicate()[0] != b""
    assert (first.returncode, second.returncode) == (0, 0)
    assert before
    assert {path: path.stat().st_ino for path in before} == before


def _opened(pid: int, suffix: str) -> bool:
    """Tell whether a process has a file open whose name ends so."""
    found = Path(f"/proc/{pid}/fd")
    with contextlib.suppress(OSError):
        return any(str(handle.readlink()).endswith(suffix) for handle in found.iterdir())
    return False
