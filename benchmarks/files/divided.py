"""Work on thousands of small files, divided among processes: one for each core that this process may use."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

from benchmarks.errors import WorkFailed

T = TypeVar("T")
R = TypeVar("R")

PART = 256
"""How many items a process works on before it hands over their results."""
FEWEST = 16 * PART
"""Of fewer items the work is done before processes would have shared it out."""


def divided(work: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T]) -> Iterator[R]:
    """Yield the results of `work`, one for each item in their order; it is given parts of `items` of PART or fewer.

    The processes are forked from this one, so neither `work` nor the items are copied; results are pickled. With one
    core, few items, or threads beside this one, which a fork may hold up for ever, all is done here. What `work` raises
    is raised here. Raises WorkFailed where a process is ended from outside.
    """
    parts = [items[start : start + PART] for start in range(0, len(items), PART)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(items) < FEWEST or cores == 1 or not _may_fork():
        for part in parts:
            yield from work(part)
        return
    yield from _from_processes(work, parts, cores)


def _may_fork() -> bool:
    """Tell whether this process has one thread alone, Python's or a library's, and may have children."""
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        return False
    return threads == 1 and not multiprocessing.current_process().daemon


def _from_processes(work: Callable[[T], Sequence[R]], parts: Sequence[T], processes: int) -> Iterator[R]:
    fork = multiprocessing.get_context("fork")
    receivers: list[Connection] = []
    workers = []
    try:
        for number in range(processes):
            receiver, sender = fork.Pipe(duplex=False)
            receivers.append(receiver)
            own = parts[number::processes]
            workers.append(fork.Process(target=_work, args=(work, own, sender, list(receivers)), daemon=True))
            workers[-1].start()
            sender.close()  # so that the end of the process is the end of its results
        for place in range(len(parts)):
            yield from _received(receivers[place % processes])
    finally:
        for receiver in receivers:  # a process that has more to say ends at its next word
            receiver.close()
        for worker in workers:
            worker.join()


def _work(
    work: Callable[[T], Sequence[R]], parts: Sequence[T], sender: Connection, inherited: Sequence[Connection]
) -> None:
    """Send the results of each part, or what was raised; end when nobody receives any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that was interrupted closes its ends
    for receiver in inherited:
        receiver.close()
    try:
        for part in parts:
            try:
                found: Sequence[R] | Exception = work(part)
            except Exception as error:
                found = error
            sender.send(found)
    except BrokenPipeError:
        pass


def _received(receiver: Connection) -> Sequence[R]:
    try:
        found: Sequence[R] | Exception = receiver.recv()
    except EOFError:
        remedy = "see whether the machine ran out of memory, and run it again"
        raise WorkFailed(f"a process that read files was ended from outside\n  remedy: {remedy}") from None
    if isinstance(found, Exception):
        raise found
    return found
