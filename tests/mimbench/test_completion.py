"""Completion in the shell, asked for as argcomplete's own shell function asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import ROOT


def _completed(line: str, folder: Path) -> set[str]:
    """Return what may stand at the end of a line. The line's program is the console command."""
    answer = folder / "answer"
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    asked |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "_ARGCOMPLETE_SHELL": "bash"}
    code = "import sys; sys.argv = ['mimbench']; from mimbench import main; sys.exit(main())"
    environment = os.environ | asked | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout == ""
    assert answer.is_file(), done.stderr
    return {word.strip() for word in answer.read_text().split("\n") if word.strip()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mimbench pre", {"pretrain"}),
        ("mimbench pipeline res", {"resume"}),
        ("mimbench pretrain digits", {"digits_simmim"}),
        ("mimbench transfer imagenet", {"imagenet1k"}),
        ("mimbench transfer digits --recipe digits_kn", {"digits_knn"}),
        ("mimbench transfer digits --enc", {"--encoder"}),
        ("mimbench pipeline plan frozen", {"frozen_digits"}),
        ("mimbench checkpoint ver", {"verify"}),
        ("mimbench report leaderboard --base", {"--baseline"}),
    ],
)
def test_a_word_is_completed(line: str, expected: set[str], tmp_path: Path) -> None:
    found = _completed(line, tmp_path)
    assert expected <= found
    assert all(word.startswith(line.split(" ")[-1]) for word in found)


def test_nothing_is_done_for_it(tmp_path: Path) -> None:
    _completed("mimbench pretrain digits_simmim --data /nowhere ", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["answer"]
