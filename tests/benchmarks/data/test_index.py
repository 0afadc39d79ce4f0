"""The index of a folder: what it finds, when it is used again, and when it is made again."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.data import index as indices
from benchmarks.data import walk as walking
from benchmarks.data.fingerprint import fingerprint
from benchmarks.data.found import IMAGE_SUFFIXES, files_below, files_by_folder
from benchmarks.data.index import INDEX, index_of
from tests.support.special_files import never_waiting

LONG_AGO = 1_000_000_000
NAMES = ("a/b.png", "a-b/1.png", "a.b/2.JPG", "a/0/x.png", "a/c.webp", "b.png", "z/1.png", "z/note.txt", "z/.2.png")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, in which every index is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(indices, "KEPT_FROM", 1)
    return tmp_path / "cache" / "mimbench" / "indices"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Files in folders whose names sort differently as texts and as paths; nothing changed lately."""
    root = tmp_path / "images"
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * number)
    Path(os.fsdecode(os.fsencode(root) + b"/z/\xe9t\xe9.png")).write_bytes(b"no UTF-8")
    (root / "empty").mkdir()
    (root / "z" / "nowhere.png").symlink_to("gone.png")
    os.mkfifo(root / "z" / "pipe.png")
    aged(root)
    return root


def aged(root: Path) -> None:
    for folder, _, names in os.walk(root, topdown=False):
        for name in names:
            os.utime(Path(folder, name), (LONG_AGO, LONG_AGO), follow_symlinks=False)
        os.utime(folder, (LONG_AGO, LONG_AGO))


def as_it_was_done_before(root: Path, by_size: bool = False) -> tuple[list[Path], str]:
    """Return files and fingerprint as the first version found them, with a Path object for each file."""
    found = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(root, followlinks=True)
        for name in names
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
    )
    total = hashlib.sha256()
    for file in found:
        shown = "unreadable"
        if file.is_file():
            shown = str(file.stat().st_size) if by_size else hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(os.fsencode(file.relative_to(root)) + f"\0{shown}\n".encode())
    return found, total.hexdigest()


def refuse(*_: object) -> None:
    raise AssertionError("the folder was looked through again")


def test_a_fingerprint_that_was_damaged_in_the_cache_is_made_again(images: Path, cache: Path) -> None:
    _, sha256 = as_it_was_done_before(images)
    found = files_below(images)
    assert fingerprint(images, found).sha256 == sha256
    (kept,) = cache.glob("*/*.derived")
    whole = kept.read_bytes()
    for at in (0, 20, len(whole) // 2, whole.index(sha256.encode()), len(whole) - 2):
        kept.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert fingerprint(images, found).sha256 == sha256
        assert kept.read_bytes() == whole
    kept.write_bytes(b'{"sha256": "0", "sample": []}')
    assert fingerprint(images, found).sha256 == sha256


@pytest.mark.parametrize("by_size", [False, True])
@pytest.mark.parametrize("slow", [False, True], ids=["local", "network"])
def test_names_order_and_fingerprint_are_those_of_before(
    images: Path, monkeypatch: pytest.MonkeyPatch, by_size: bool, slow: bool
) -> None:
    monkeypatch.setattr(walking, "SLOW_S", 0 if slow else 1)
    if by_size:
        monkeypatch.setattr("benchmarks.data.fingerprint.CONTENT_LIMIT_BYTES", 0)
    expected, sha256 = as_it_was_done_before(images, by_size)
    with never_waiting():
        for _ in range(2):  # made, then read
            found = files_below(images)
            assert list(found) == expected
            assert fingerprint(images, found).sha256 == sha256
            monkeypatch.setattr(indices, "walk", refuse)
    assert [path.name for path in found[2:5]] == [path.name for path in expected[2:5]]
    some = found.select([7, 0, 3])
    assert list(some) == [expected[7], expected[0], expected[3]]
    assert fingerprint(images, some).sha256 == fingerprint(images, list(some)).sha256


def test_a_kept_fingerprint_is_not_computed_again(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = files_below(images)
    first = fingerprint(images, found, sampled=found)
    monkeypatch.setattr("benchmarks.data.fingerprint._hashed", refuse)
    again = files_below(images)
    assert fingerprint(images, again, sampled=again) == first
    with pytest.raises(AssertionError, match="looked through"):
        fingerprint(images, again, parts={"labels": "1"}, sampled=again)


CHANGES: dict[str, Callable[[Path], object]] = {
    "more": lambda root: (root / "a" / "0" / "new.png").write_bytes(b"new"),
    "less": lambda root: (root / "b.png").unlink(),
    "renamed": lambda root: (root / "z" / "1.png").rename(root / "z" / "3.png"),
    "moved": lambda root: (root / "z" / "1.png").rename(root / "empty" / "1.png"),
    "a folder": lambda root: (root / "new").mkdir(),
    "another size": lambda root: (root / "a" / "c.webp").write_bytes(b"longer than before"),
    "a link that leads somewhere now": lambda root: (root / "z" / "gone.png").write_bytes(b"here"),
}


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_it_is_made_again_after_a_change(
    images: Path, change: str, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "SMALL_BYTES", 2**30 if small else 0)
    first = fingerprint(images, files_below(images)).sha256
    CHANGES[change](images)
    expected, sha256 = as_it_was_done_before(images)
    found = files_below(images)
    assert list(found) == expected
    assert fingerprint(images, found).sha256 == sha256
    assert (sha256 == first) == (change == "a folder")


def test_other_bytes_of_the_same_size_are_noticed_in_a_small_data_set(images: Path) -> None:
    first = fingerprint(images, files_below(images)).sha256
    (images / "z" / "1.png").write_bytes(b"y" * 6)
    assert fingerprint(images, files_below(images)).sha256 == as_it_was_done_before(images)[1] != first


def test_what_changed_just_now_is_not_kept(images: Path, cache: Path) -> None:
    (images / "new.png").write_bytes(b"new")
    files_below(images)
    assert not list(cache.glob(f"*/{INDEX}"))
    aged(images)
    files_below(images)
    assert list(cache.glob(f"*/{INDEX}"))


@pytest.mark.parametrize("damage", ["cut", "byte", "empty", "other", "version"])
def test_a_damaged_index_is_made_again(images: Path, cache: Path, damage: str) -> None:
    files_below(images)
    (file,) = cache.glob(f"*/{INDEX}")
    whole = file.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:-3],
        "byte": whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
        "empty": b"",
        "other": b"PK" + whole[2:],
        "version": whole.replace(b'"version": 1', b'"version": 0', 1),
    }[damage]
    assert damaged != whole, middle
    file.write_bytes(damaged)
    assert list(files_below(images)) == as_it_was_done_before(images)[0]
    assert file.read_bytes() != damaged


def test_where_nothing_can_be_kept_it_is_made_every_time(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert list(files_below(images)) == as_it_was_done_before(images)[0]


def test_refresh_makes_it_again(images: Path) -> None:
    suffixes = frozenset(IMAGE_SUFFIXES)
    first = index_of(images, suffixes)
    assert index_of(images, suffixes).token == first.token
    assert index_of(images, suffixes, refresh=True).token != first.token


def test_of_two_processes_that_start_at_once_one_makes_it(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, walks = walking.walk, tmp_path / "walks"

    def slowly(root: str, suffixes: frozenset[str], show: Callable[[int], object]) -> walking.Walk:
        found = real(root, suffixes, show)
        with walks.open("a") as file:
            file.write("walked\n")
        time.sleep(0.3)
        return found

    monkeypatch.setattr(indices, "walk", slowly)
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=files_below, args=(images,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert walks.read_text() == "walked\n"


def test_another_process_is_sent_where_the_index_lies_and_not_what_it_holds(images: Path) -> None:
    folder = images / "many"
    folder.mkdir()
    for number in range(2000):
        (folder / f"a_rather_long_name_{number}.png").touch()
    aged(images)
    found = files_below(images)
    sent = pickle.dumps(found)
    assert len(sent) < 1000
    assert list(pickle.loads(sent)) == list(found)  # noqa: S301 (our own)


def test_files_by_folder_are_those_of_each_folder_by_itself(images: Path) -> None:
    """A link from one folder into another counts in both; files in no folder count in none."""
    (images / "z" / "linked").symlink_to(images / "a", target_is_directory=True)
    found = files_by_folder(images)
    by_folder = {path.name: as_it_was_done_before(path)[0] for path in sorted(images.iterdir()) if path.is_dir()}
    assert found.counts == {name: len(files) for name, files in by_folder.items()}
    assert list(found.files) == [file for files in by_folder.values() for file in files]
    assert found.counts["empty"] == 0
    assert len(files_below(images)) == len(found.files) + 1 - found.counts["a"], "each file once"
