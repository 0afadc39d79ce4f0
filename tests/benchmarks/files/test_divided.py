"""Work divided among processes gives what it gives in one, and says in words where a process is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence

import pytest

from benchmarks.errors import UserError, WorkFailed
from benchmarks.files import divided as module
from benchmarks.files.divided import FEWEST, PART, divided


def _by_whom(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return [(number, os.getpid()) for number in numbers]


@pytest.fixture
def _forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process fork on two cores, which pytest's own threads would forbid; these are none that a fork needs."""
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


@pytest.mark.usefixtures("_forks")
@pytest.mark.parametrize("count", [0, 1, FEWEST - 1, FEWEST, FEWEST + PART + 1])
def test_every_result_comes_once_and_in_its_order(count: int) -> None:
    found = list(divided(_by_whom, range(count)))
    assert [number for number, _ in found] == list(range(count))
    processes = {process for _, process in found}
    assert (os.getpid() not in processes and len(processes) == 2) if count >= FEWEST else processes <= {os.getpid()}


def test_beside_a_thread_and_on_one_core_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert {process for _, process in divided(_by_whom, range(FEWEST))} == {os.getpid()}
    done.set()
    thread.join()
    monkeypatch.setattr(module, "_may_fork", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert {process for _, process in divided(_by_whom, range(FEWEST))} == {os.getpid()}


def _refuse(numbers: Sequence[int]) -> Sequence[int]:
    if PART * 3 in numbers:
        raise UserError.about("number", PART * 3, "another one", "take another one")
    return numbers


def _end_by_signal(numbers: Sequence[int]) -> Sequence[int]:
    if PART * 3 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return numbers


@pytest.mark.usefixtures("_forks")
@pytest.mark.parametrize(
    ("work", "error", "words"),
    [(_refuse, UserError, "take another one"), (_end_by_signal, WorkFailed, "ended from outside")],
)
def test_what_ends_the_work_is_raised_and_no_process_is_left(
    work: module.Callable[[Sequence[int]], Sequence[int]], error: type[Exception], words: str
) -> None:
    results = divided(work, range(FEWEST))
    assert next(results) == 0
    with pytest.raises(error, match=words):
        list(results)
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("_forks")
def test_who_stops_asking_leaves_no_process() -> None:
    results = divided(_by_whom, range(10 * FEWEST))
    assert next(results)[0] == 0
    assert len(multiprocessing.active_children()) == 2
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
