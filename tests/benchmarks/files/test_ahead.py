"""Reading ahead changes nothing but the time: who is given an item finds the files as they are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.files.ahead import AHEAD, BATCH, read_ahead


def _files(folder: Path, count: int) -> list[Path]:
    for number in range(count):
        (folder / f"{number}.json").write_text(str(number))
    return [folder / f"{number}.json" for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH * AHEAD, BATCH * AHEAD + 1, 3 * BATCH * AHEAD])
def test_every_item_comes_once_and_in_its_order(count: int, tmp_path: Path) -> None:
    read = [int(path.read_text()) for path in read_ahead(_files(tmp_path, count), lambda path: [path])]
    assert read == list(range(count))


def test_what_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    names = ["folder", "pipe", "link", "nowhere", "null\0byte", "x" * 5000]
    assert list(read_ahead(names, lambda name: [tmp_path / name])) == names


def test_only_so_many_items_are_taken_ahead_and_no_thread_is_left(tmp_path: Path) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(10 * BATCH * AHEAD):
            taken.append(number)
            yield number

    walk = read_ahead(items(), lambda number: [tmp_path / str(number)])
    assert next(walk) == 0
    assert len(taken) <= BATCH * AHEAD
    walk.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name.startswith("read-ahead")]


def test_an_error_of_the_items_reaches_who_asks(tmp_path: Path) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    with pytest.raises(KeyError, match="two"):
        list(read_ahead(items(), lambda _: [tmp_path]))
