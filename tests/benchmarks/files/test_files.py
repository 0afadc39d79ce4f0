"""Atomic writing, on a disk that is really full."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.digits.embedded import provide
from benchmarks.digits.folders import write_digits
from benchmarks.errors import UserError, WorkFailed
from benchmarks.files.atomic import disk_error, make_folder, write_atomically

DISK_BYTES = 256 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB; skip where this user may not mount."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("known", [False, True], ids=["by process id", "guessed"])
def test_a_link_that_somebody_put_beside_the_file_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"somebody's")
    shared = tmp_path / "shared"
    shared.mkdir()
    if known:
        monkeypatch.setattr("secrets.token_hex", lambda _: "00000000")
    token = "00000000" if known else os.getpid()
    (shared / f".record.json.{token}.tmp").symlink_to(victim)
    with pytest.raises(UserError, match="file exists") if known else contextlib.nullcontext():
        write_atomically(shared / "record.json", b"ours")
    assert victim.read_bytes() == b"somebody's"
    assert known or not (shared / "record.json").is_symlink()


def test_a_data_set_is_not_written_through_a_link_that_somebody_put_beside_it(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / f".digits.{os.getpid()}").symlink_to(theirs)
    provide(tmp_path / "digits", ".mark", 1, write_digits)
    assert list(theirs.iterdir()) == []
    assert not (tmp_path / "digits").is_symlink()


def test_full_disk_keeps_the_old_file_and_leaves_nothing_behind(small_disk: Path) -> None:
    path = small_disk / "checkpoint"
    write_atomically(path, b"old" * 1000)
    with pytest.raises(WorkFailed) as caught:
        write_atomically(path, os.urandom(2 * DISK_BYTES))
    assert path.read_bytes() == b"old" * 1000
    assert list(small_disk.iterdir()) == [path]
    message = str(caught.value)
    assert f"no room to write {path}: 0.5 MB needed, 0.3 MB free" in message
    assert "No space left on device" in message
    assert "remedy: free some space" in message


def test_full_disk_can_be_written_again_once_there_is_room(small_disk: Path) -> None:
    path, other = small_disk / "checkpoint", small_disk / "other"
    other.write_bytes(os.urandom(DISK_BYTES * 3 // 4))
    data = os.urandom(DISK_BYTES // 2)
    with pytest.raises(WorkFailed):
        write_atomically(path, data)
    other.unlink()
    write_atomically(path, data)
    assert path.read_bytes() == data


def test_missing_folder_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or directory"):
        write_atomically(tmp_path / "none" / "file", b"data")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_exhausted_quota_is_reported_like_a_full_disk(tmp_path: Path, code: int) -> None:
    error = disk_error(OSError(code, os.strerror(code)), tmp_path / "file", 3_000_000)
    assert isinstance(error, WorkFailed)
    assert "3.0 MB needed" in str(error)
    assert os.strerror(code) in str(error)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    error = OSError(errno.EIO, "no")
    assert disk_error(error, tmp_path / "file", 1) is error


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
def test_folder_below_a_file_is_the_users_mistake(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file is not a folder\n  rule: .*\n  remedy: name another place"):
        make_folder(tmp_path / place)


@pytest.mark.parametrize("place", [".", "..", "/", "folder"])
def test_folder_is_not_replaced_by_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    path = tmp_path / "folder" if place == "folder" else Path(place)
    with pytest.raises(UserError, match="is a directory"):
        write_atomically(path, b"data")
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]


def test_read_only_file_system(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for write in (make_folder, lambda path: write_atomically(path, b"data")):
        with pytest.raises(UserError, match="read-only file system"):
            write(small_disk / "new")


def test_digits_on_a_full_disk(small_disk: Path) -> None:
    with pytest.raises(WorkFailed, match="no room to write"):
        write_digits(small_disk / "digits")


def test_digits_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match="data is not a folder"):
        write_digits(tmp_path / "data" / "digits")
