"""metrics.jsonl when a run is continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.errors import UserError
from benchmarks.runs.metrics_log import MetricsLog


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
