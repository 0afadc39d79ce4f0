"""A misspelt word gets this program's own kind of error at every level of the command."""

from __future__ import annotations

import pytest

import mimbench


@pytest.mark.parametrize(
    ("words", "field", "meant"),
    [
        (["pretain"], "verb", "pretrain"),
        (["pipeline", "sumbit", "file.yaml"], "command", "submit"),
        (["checkpoint", "inspct", "file.pth"], "action", "inspect"),
        (["report", "leaderbord", "runs", "--out", "x"], "report", "leaderboard"),
        (["list", "formts"], "list", "formats"),
    ],
)
def test_a_misspelt_word(words: list[str], field: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mimbench.main(words) == mimbench.WRONG
    message = capsys.readouterr().err.splitlines()
    wrong = next(word for word in words if word not in mimbench.VERBS)
    assert message[0] == f"error: {field} = {wrong}"
    assert message[1].startswith("  rule:   ")
    assert message[2].startswith(f"  remedy: Did you mean {meant}? Known: ")
    assert len(message) == 3


@pytest.mark.parametrize(
    ("words", "lacking"),
    [(["pretrain"], "RECIPE"), (["transfer", "--encoder", "x"], "TASK"), (["pipeline", "plan"], "FILE")],
)
def test_only_what_is_required_is_asked_for(words: list[str], lacking: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        mimbench.main(words)
    assert stopped.value.code == mimbench.WRONG
    assert capsys.readouterr().err.endswith(f"the following arguments are required: {lacking}\n")
