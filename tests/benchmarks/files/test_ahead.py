"""Reading ahead changes nothing but the time: who is given an item finds the files as they are.

Who sleeps over an item waits as for a slow disk, as far as the system counts.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.files.ahead import AHEAD, BATCH, FIRST, read_ahead

COUNTS = [0, 1, FIRST, FIRST + 1, BATCH, BATCH * AHEAD, BATCH * AHEAD + 1, 3 * BATCH * AHEAD]
READERS: dict[str, Callable[[], None]] = {"on a slow disk": lambda: time.sleep(1e-4), "in the cache": lambda: None}


def _threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("read-ahead")]


def _files(folder: Path, count: int) -> list[Path]:
    for number in range(count):
        (folder / f"{number}.json").write_text(str(number))
    return [folder / f"{number}.json" for number in range(count)]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("count", COUNTS)
def test_every_item_comes_once_and_in_its_order(count: int, reader: str, tmp_path: Path) -> None:
    read = []
    for path in read_ahead(_files(tmp_path, count), lambda path: [path]):
        READERS[reader]()
        read.append(int(path.read_text()))
    assert read == list(range(count))


def test_threads_read_ahead_only_for_who_waits(tmp_path: Path) -> None:
    asked = []

    def files(number: int) -> list[Path]:
        asked.append(number)
        return [tmp_path / str(number)]

    assert list(read_ahead(range(3 * BATCH), files)) == list(range(3 * BATCH))
    assert asked == []
    for _ in read_ahead(range(3 * BATCH), files):
        time.sleep(1e-4)
    assert asked == list(range(FIRST, 3 * BATCH))


def test_threads_begin_when_waiting_begins(tmp_path: Path) -> None:
    for number in read_ahead(range(10 * BATCH), lambda _: [tmp_path]):
        assert bool(_threads()) == (number >= FIRST + 2 * BATCH)
        if number >= FIRST + BATCH:
            time.sleep(1e-4)


def test_what_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    names = ["folder", "pipe", "link", "nowhere", "null\0byte", "x" * 5000]
    found = []
    for name in read_ahead([*"abcd", *names], lambda name: [tmp_path / name]):
        time.sleep(1e-4)
        found.append(name)
    assert found == [*"abcd", *names]


def test_only_so_many_items_are_taken_ahead_and_no_thread_is_left(tmp_path: Path) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(10 * BATCH * AHEAD):
            taken.append(number)
            yield number

    walk = read_ahead(items(), lambda number: [tmp_path / str(number)])
    for number in range(FIRST + 1):
        assert next(walk) == number
        time.sleep(1e-4)
    assert FIRST + 1 < len(taken) <= FIRST + BATCH * AHEAD
    assert _threads()
    walk.close()  # type: ignore[attr-defined]
    assert not _threads()


def test_an_error_of_the_items_reaches_who_asks(tmp_path: Path) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    with pytest.raises(KeyError, match="two"):
        list(read_ahead(items(), lambda _: [tmp_path]))
