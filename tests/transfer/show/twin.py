"""Finished runs under other names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.transfer.kinds import Kind

Finished = Callable[[Kind], Path]
"""Returns the folder of a finished run of a kind of task, which no test may change."""


def twin(run: Path, folder: Path, label: str = "other") -> Path:
    """Copy a finished run to `folder` as that of another encoder; return the copy."""
    shutil.copytree(run, folder)
    record = json.loads((folder / "record.json").read_text())
    record["run_id"] += folder.name
    record["encoder"] |= {"label": label, "sha256": "0" * 64}
    (folder / "record.json").write_text(json.dumps(record))
    return folder
