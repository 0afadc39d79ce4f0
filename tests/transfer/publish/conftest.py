"""Runs that are published, for all tests that only read them: a pretraining, and a fine-tuning that started from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MadeOnce
from tests.support import small
from tests.support.runs import only_run, trained


@pytest.fixture(scope="session")
def finetuned_run(digits: Path, simmim_run: Path, made_once: MadeOnce) -> Path:
    def finetune(folder: Path) -> None:
        data = small.cut_digits(digits, folder / "data")
        trained([*small.classification(data), "--encoder", str(simmim_run)], folder / "runs")

    return only_run(made_once("finetuned", finetune) / "runs")
