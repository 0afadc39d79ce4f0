"""The task `parity`: is a handwritten digit even or odd? Its images are mimbench's own digits in two folders."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.catalogue.metrics import TOP1
from benchmarks.catalogue.task import Task
from benchmarks.digits.embedded import write_once
from benchmarks.digits.folders import write_digits

MARK, VERSION = "parity.json", 1
"""The file that proves that the data are whole, and their version."""


def write_parity(root: Path) -> str:
    """Write the images below `root` unless they are there and whole; return their fingerprint."""
    return write_once(root, MARK, VERSION, ("train", "test"), _write)


def _write(root: Path) -> None:
    write_digits(root / ".digits")
    for split in ("train", "test"):
        for path in sorted((root / ".digits" / split).glob("*/*.png")):
            digit = int(path.parent.name)
            folder = root / split / ("odd" if digit % 2 else "even")
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / f"{digit}_{path.name}")
    shutil.rmtree(root / ".digits")


PARITY = Task(
    name="parity",
    version=1,
    kind="classification",
    dataset="UCI handwritten digits, even and odd",
    num_classes=2,
    metrics=(TOP1,),
    primary_metric="top1",
    recipe=str(Path(__file__).with_name("parity_finetune.yaml")),
    source="https://archive.ics.uci.edu/dataset/80",
    written_by="mimbench_example.task:write_parity",
)
