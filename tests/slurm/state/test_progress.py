"""Progress read from a metrics.jsonl, in whatever state a crash, a disk or a person has left it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.runs.metrics_log import Progress, read_progress

GOOD = b'{"step": 3, "total_steps": 9, "loss": 0.5, "eta_seconds": 2.0}\n'


@pytest.mark.parametrize(
    "damaged",
    [
        b"\xff\xfe\x00\n",
        b'{"step": "\xff", "total_steps": 9}\n',
        b'{"step": null, "total_steps": 9}\n',
        b'{"step": "four", "total_steps": 9}\n',
        b'{"step": NaN, "total_steps": 9}\n',
        b'{"step": 4, "total_steps": [9]}\n',
        b'{"step": 4, "total_steps": Infinity}\n',
        b'{"step": 1' + b"0" * 400 + b', "total_steps": 9}\n',
        b'{"step": 4, "top1": "high"}\n',
        b"[" * 8000 + b"\n",
        b'["step", "total_steps"]\n',
        b'{"step": 4, "total_st',
    ],
)
def test_a_damaged_line_is_passed_over(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(GOOD + damaged)
    assert read_progress(path) == Progress(3, 9, 0.5, 2.0)
    path.write_bytes(damaged)
    assert read_progress(path) is None


def test_loss_and_time_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 3, "total_steps": 9, "loss": "low", "eta_seconds": NaN}\n')
    assert read_progress(path) == Progress(3, 9, None, None)


def test_no_file_or_one_of_another_kind_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "none", tmp_path / "file" / "metrics.jsonl"):
        assert read_progress(path) is None
