"""Data that a stage would refuse is refused by `plan`, `submit` and `--dry-run`, before anything starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import mimbench
from slurm.graph.check import load_pipeline
from slurm.graph.data import require_data


def pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")


def flowers(root: Path) -> None:
    for split in ("train", "val"):
        for flower in ("iris", "poppy", "rose"):
            pictures(root / split / flower, 2)


def coco_without_annotations(root: Path) -> None:
    for split in ("train2017", "val2017"):
        pictures(root / split, 2)


def empty(root: Path) -> None:
    root.mkdir()


def study(path: Path, task: str, recipe: str | None = None, **more: Any) -> None:
    work = {"data": "data", **({"recipe": recipe} if recipe else {})}
    what = {
        "name": "study",
        "encoders": {"scratch": {"ref": "random:swin_base_window6"}},
        "tasks": {task: work},
        "seeds": [0],
        "baseline": "scratch",
        **more,
    }
    path.write_text(yaml.safe_dump(what))


@pytest.mark.parametrize(
    ("make", "task", "said"),
    [
        (flowers, "imagenet1k", ["3 ", "1000"]),
        (coco_without_annotations, "coco", ["instances_train2017.json"]),
        (coco_without_annotations, "ade20k", ["data"]),
        (empty, "imagenet1k", ["data"]),
        (empty, "coco", ["instances_train2017.json"]),
    ],
)
def test_data_that_a_task_refuses_is_refused_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], None],
    task: str,
    said: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "data")
    study(tmp_path / "study.yaml", task)
    for command in (["plan"], ["submit", "--dry-run"], ["submit"]):
        assert mimbench.main(["pipeline", *command, "study.yaml"]) == 2
        words = capsys.readouterr().err
        assert f"tasks.{task}: " in words
        assert "--no-data-check" in words
        for word in (*said, "rule:", "remedy:"):
            assert word in words
    assert not (tmp_path / "pipelines").exists()
    assert mimbench.main(["pipeline", "submit", "study.yaml", "--dry-run", "--no-data-check"]) == 0


def test_a_batch_that_the_images_cannot_fill_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """18 images and the batch of 2048 of the published recipe, of which no step can be made."""
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "data")
    pictures(tmp_path / "data" / "train", 12)
    pretrain = {"simmim": {"recipe": "simmim_swin_base_192_100ep", "data": "data"}}
    encoders = {"scratch": {"ref": "random:swin_base_window6"}, "simmim": {"from": "pretrain.simmim"}}
    overrides = ["training.batch_size=6", "augmentation.mixup=0", "augmentation.cutmix=0"]
    tasks = {"imagefolder": {"data": "data", "overrides": overrides, "recipe": "imagenet1k_swin_base_224"}}
    study(tmp_path / "study.yaml", "imagefolder", pretrain=pretrain, encoders=encoders, tasks=tasks)
    with pytest.raises(ValueError, match=r"pretrain.simmim: training.batch_size = 2048\n.*\(18\)"):
        require_data(load_pipeline(Path("study.yaml")))


def test_data_on_nodes_alone_is_left_to_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study(tmp_path / "study.yaml", "imagenet1k")
    assert mimbench.main(["pipeline", "plan", "study.yaml"]) == 2
    assert "a folder that exists" in capsys.readouterr().err
    assert mimbench.main(["pipeline", "plan", "study.yaml", "--no-data-check"]) == 0
    words = capsys.readouterr().out
    assert "no run has measured how many hours or days 1 training will take on" in words
    assert "remedy: let a short run" in words


def test_entries_that_share_data_have_it_looked_through_once(
    small_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_digits.parent)
    listed: list[str] = []

    def walk(folder: str, **options: Any) -> Any:
        listed.append(str(folder))
        return really(folder, **options)

    really = os.walk
    monkeypatch.setattr(os, "walk", walk)
    work = {"data": "small_digits", "recipe": "digits_finetune", "overrides": ["training.batch_size=20"]}
    study(Path("one.yaml"), "digits", tasks={"digits": work})
    require_data(load_pipeline(Path("one.yaml")))
    once = len(listed)
    tasks = {"digits": work, "again": {**work, "task": "digits"}}
    study(Path("two.yaml"), "digits", tasks=tasks)
    counts = require_data(load_pipeline(Path("two.yaml")))
    assert counts == {"tasks.digits": 40, "tasks.again": 40}
    assert len(listed) == 2 * once
