"""The worked example of docs/python.md, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mimbench
from tests.support.command import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_worked_example_runs_from_its_first_line_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cells = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, "docs/python.md", "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"^simmim \d+\.\d+\nscratch \d+\.\d+$", said, re.MULTILINE)
    assert "100.0 Normalisation" in said
    assert (tmp_path / "report" / "leaderboard.html").is_file()
    assert {run["status"] for run in mimbench.records("runs").to_dict("records")} == {"completed"}


def test_the_page_names_everything_that_is_there() -> None:
    table = PAGE.partition("## A comparison")[0]
    missing = {name for name in mimbench.__all__ if f"`{name}" not in table}
    assert missing == {"__version__", "main", "RunRecord", "Overrides"} - set(re.findall(r"`(\w+)`", table))
