"""Texts of logs, hosts and errors are shown with escapes, so that the terminal obeys none of them."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from benchmarks.errors import printable_lines
from slurm.state.attempt import RankEnd
from slurm.state.observe import View
from slurm.terminal import PlainLines, describe, stage_table
from tests.slurm.bench import Bench

HOSTILE = {
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "\x1b]8;;http://elsewhere\x1b\\click\x1b]8;;\x1b\\": r"\x1b]8;;http://elsewhere\x1b" + "\\click",
    "\x9b31mred": r"\x9b31mred",
    "\u202egnp.exe\u2066": r"\u202egnp.exe\u2066",
    "\x08\x7f\x00": r"\x08\x7f\x00",
}
"""Texts, and what is shown of them: clearing the screen, a hidden link, 8-bit colours, bidirectional order, erasing."""
STYLES = re.compile(r"\x1b\[[\d;]*m")
MARKUP = "[link=http://elsewhere]click[/link] \\[bold]"


def obeyed(shown: str) -> set[str]:
    """Return the characters that a terminal would not print but obey."""
    return {char for char in shown if not char.isprintable() and char not in "\n\t"}


def test_lines_and_tabs_of_a_log_stay() -> None:
    assert printable_lines("step\t1\nüñ 😀 \x1b[32mdone\x1b[0m\n") == "step\t1\nüñ 😀 \\x1b[32mdone\\x1b[0m\n"


@pytest.mark.parametrize("text", [*HOSTILE, "over\rwritten"])
def test_a_table_of_stages_obeys_nothing(text: str) -> None:
    view = View("failed", f"{text} {MARKUP}")
    screen = Console(file=io.StringIO(), force_terminal=True, width=400)
    screen.print(stage_table({"stage": view}, f"{text} {MARKUP}", {"stage": f"7 on {text} {MARKUP}"}))
    assert isinstance(screen.file, io.StringIO)
    shown = STYLES.sub("", screen.file.getvalue())
    assert obeyed(shown) == set()
    assert shown.count(MARKUP) == 3
    assert obeyed(describe(view)) == set()


def test_a_log_of_two_minutes_has_few_lines_and_every_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = PlainLines()
    for tick in range(300):
        now = 100 + 0.4 * tick
        lines.update({"one": View("running"), "two": View("completed" if tick > 99 else "running")})
    said = capsys.readouterr().out.splitlines()
    assert len(said) < 20
    assert said.count("[  40s] two completed") == 1
    assert said[0] == "[   0s] 0/2 stages done | one running | two running"


def test_a_log_of_what_still_starts_says_so_every_ten_seconds_and_what_changed_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = PlainLines()
    for tick in range(40):
        now = 0.4 * tick
        lines.update({"one": View("starting" if now < 12.3 else "running")})
    assert capsys.readouterr().out.splitlines() == [
        "[   0s] 0/1 stages done | one starting",
        "[  10s] 0/1 stages done | one starting",
        "[  15s] 0/1 stages done | one running",
    ]


def test_a_log_of_a_day_has_a_line_each_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = PlainLines()
    for minute in range(24 * 60):
        now = 60.0 * minute
        lines.update({"one": View("running")})
    assert len(capsys.readouterr().out.splitlines()) == 24 * 60


def test_what_others_wrote_into_logs_and_attempts_is_shown_escaped(bench: Bench) -> None:
    assert bench.submit("--dry-run").returncode == 0
    assert bench.submit().returncode == 0
    folder, stage = bench.folder, "pretrain.simmim"
    log, attempt = folder.newest_log(stage), folder.read_attempt(stage)
    assert log is not None
    assert attempt is not None
    log.write_text("first\tline\n" + "\n".join([*HOSTILE, "over\rwritten"]) + "\n", newline="")
    host = "".join(HOSTILE)
    cause = RankEnd(rank=1, host=host, exit_code=1, at=0.0, last_words=host)
    ended = attempt.model_copy(update={"host": host, "exit_code": 1, "inputs_digest": "", "cause": cause})
    folder.write_attempt(stage, ended)

    logs = bench.mimbench("pipeline", "logs", folder.id, stage).stdout
    status = bench.mimbench("pipeline", "status", folder.id).stdout
    assert "first\tline\n" in logs
    for shown in HOSTILE.values():
        assert shown in logs
    assert "\\x1b[2J" in status
    assert obeyed(logs) == obeyed(status) == set()
