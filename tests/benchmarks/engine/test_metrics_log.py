"""metrics.jsonl when a run is continued, and its end when it is asked how far a run came."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.errors import UserError
from benchmarks.runs.metrics_log import TAIL_BYTES, MetricsLog, last_lines, read_progress


def test_broken_bytes_do_not_stop_a_run_from_being_continued(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe\x80\n{"step": 2}\n{"step": 3}\n{"st')
    MetricsLog(path).rewind(2)
    assert path.read_text(encoding="utf-8") == '{"step": 1}\n{"step": 2}\n'


def test_a_folder_in_its_place_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a directory"):
        MetricsLog(tmp_path).rewind(2)
    with pytest.raises(UserError, match="is a directory"):
        MetricsLog(tmp_path).write(step=1)


@pytest.mark.parametrize("beside", [0, 1, 20, 200])
@pytest.mark.parametrize("length", [1, 500, 3000])
def test_the_end_of_a_log_is_found_behind_lines_of_any_length_and_number(
    tmp_path: Path, beside: int, length: int
) -> None:
    """What is asked for stands before lines without it: none, few, or more than the first look at the file takes."""
    wanted = {"step": 7, "epoch": 1.5, "total_steps": 9, "top1": 90.5}
    others = [{"note": "ä" * length}] * beside
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 6, "epoch": 1.0, "total_steps": 9, "top1": 80.0}, wanted, *others]
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")
    after = path.stat().st_size - path.read_bytes().index(b'{"step": 7')
    found, progress = last_lines(path.read_bytes(), {"top1", "top5"}), read_progress(path)
    if after <= TAIL_BYTES:
        assert found == (7, 1.5, 9, {"top1": 90.5})
        assert progress is not None
        assert (progress.step, progress.total_steps) == (7, 9)
    else:
        assert found == (None, None, None, {})
        assert progress is None
