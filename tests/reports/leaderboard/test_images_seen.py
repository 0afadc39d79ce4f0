"""A pretraining that saw the test images is warned of, from the records of real runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mimbench
from reports.formats import rendered
from reports.leaderboard.board import Request, build
from tests.reports import factory
from tests.support.runs import only_run
from tests.support.small import pretraining


def test_a_pretraining_that_saw_the_test_images_is_marked(small_digits: Path, tmp_path: Path) -> None:
    """One pretraining is given the unlabelled scans alone, the other 12 of the 20 test scans under other names, too."""
    spoilt = shutil.copytree(small_digits, tmp_path / "data")
    for number, file in enumerate(sorted((small_digits / "test").rglob("*.png"))[:12]):
        shutil.copy(file, spoilt / "unlabelled" / f"other_{number}.png")
    runs = tmp_path / "runs"
    for name, data in (("clean", small_digits), ("spoilt", spoilt)):
        brief = ["training.epochs=1", "training.schedule.warmup_epochs=0", "validation=null"]
        assert mimbench.main([*pretraining(data), *brief, "--runs", str(tmp_path / name)]) == 0
        encoder = ["--encoder", str(only_run(tmp_path / name)), "--label", name]
        probe = ["transfer", "digits", "--recipe", "digits_knn", f"data.root={small_digits}", "image_size_px=32"]
        probe += ["other_k=[]", "k=5"]
        assert mimbench.main([*probe, *encoder, "--runs", str(runs)]) == 0
    places = (runs, tmp_path / "clean", tmp_path / "spoilt")
    board = build(factory.collected(*places), Request(tuple(map(str, places))))
    marks = {row["encoder"]: row["mark"] for row in json.loads(rendered(board, "json"))["rows"]}
    assert "saw" not in marks["clean"]
    assert f"{only_run(tmp_path / 'spoilt').name} saw test images (12 of 20 sampled)" in marks["spoilt"].split("; ")
    assert "trained on files with the bytes of test images" in rendered(board, "txt").decode().replace("\n", " ")
