"""`mimbench demo`, shortened further."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.command import mimbench

DIGITS = "{recipe: digits_finetune, data: data/digits, encoders: [simmim, scratch], overrides: [%s]}"
FINETUNING = "training.epochs=2, training.schedule.warmup_epochs=1, evaluate_every_epochs=2, data.subset.per_class=5"
PRETRAINING = "training.epochs=1, training.schedule.warmup_epochs=0, validation=null"
SHORTER = (f"pretrain.simmim.overrides=[{PRETRAINING}]", f"tasks={{digits: {DIGITS % FINETUNING}}}")
"""What makes a demo of a few seconds."""


@pytest.mark.long
def test_the_demo_prints_a_few_lines_with_its_overview_and_its_pictures(tmp_path: Path) -> None:
    done = mimbench("demo", *SHORTER, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) < 60
    assert re.search(r"^simmim +\d", done.stdout, re.MULTILINE), "the overview"
    assert "Like for like" not in done.stdout, "the tables are in the files"
    pages = re.findall(r"^written: (\S+\.html) and [1-9]\d* PNG files", done.stdout, re.MULTILINE)
    assert [Path(page).name for page in pages] == ["reconstruct.html", "show.html"]
    assert all((tmp_path / page).is_file() for page in pages)
