"""Locks between processes, and who holds one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.errors import UserError
from benchmarks.files.locks import Locked, holder_pid, is_held, locked, sign, signal_process

HOLD = """
import sys, time
from pathlib import Path
from benchmarks.errors import UserError
from benchmarks.files.locks import locked, sign
with locked(Path(sys.argv[1])) as handle:
    sign(handle)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A lock, and the living process that holds it."""
    path = tmp_path / "folder" / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield path, process
        process.kill()


def test_one_process_holds_a_lock_until_it_ends_however_it_ends(held: tuple[Path, subprocess.Popen[str]]) -> None:
    path, process = held
    assert is_held(path)
    assert holder_pid(path) == process.pid
    with pytest.raises(Locked), locked(path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not is_held(path)
    assert holder_pid(path) is None
    with locked(path) as handle:
        sign(handle)


@pytest.mark.parametrize(
    "text", ["process -1 on {host}", "process 1 on {host}", "process {us} on {host}", "", "\0" * 9]
)
def test_what_is_written_in_a_lock_names_nobody_else(held: tuple[Path, subprocess.Popen[str]], text: str) -> None:
    """It is the kernel that says who holds it; the file may have been written by anybody."""
    path, _ = held
    path.write_text(text.format(host=socket.gethostname(), us=os.getpid()))
    assert is_held(path)
    assert holder_pid(path) is None


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_no_signal_goes_to_a_group_or_to_everybody(pid: int) -> None:
    with pytest.raises(ValueError, match="no process of ours"):
        signal_process(pid, 0)


def test_a_lock_that_was_never_made_is_free(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "none" / ".lock")


def test_a_link_in_a_lock_s_place_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("somebody's")
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(UserError, match="it is a link"), locked(tmp_path / ".lock") as handle:
        sign(handle)
    assert victim.read_text() == "somebody's"
