"""The kept output of an earlier version, laid out for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.kept import ENVIRONMENT, lay


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh folder with all that is kept, as working directory."""
    lay(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return tmp_path
