"""The same scans in every form in which people keep images, written by the forms' own libraries where there are any."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from tests.support.libraries import library
from transfer.images.recipe import ClassificationData

SPLITS = ("train", "test")


def scans(root: Path, split: str) -> list[tuple[Path, int]]:
    """Return the files of a split of the digits with their classes, in the order that every form here keeps."""
    return [(path, int(path.parent.name)) for path in sorted((root / split).glob("*/*.png"))]


def as_folders(digits: Path, to: Path) -> ClassificationData:
    for split in SPLITS:
        shutil.copytree(digits / split, to / split)
    return ClassificationData(root=str(to), test_split="test")


def as_flat_list(digits: Path, to: Path) -> ClassificationData:
    """One folder for each split, and a Caffe list `NAME LABEL` for each."""
    for split in SPLITS:
        (to / split).mkdir(parents=True)
        lines = []
        for number, (path, label) in enumerate(scans(digits, split), start=1):
            shutil.copy(path, to / split / f"{number:05d}.png")
            lines.append(f"{number:05d}.png {label}\n")
        (to / f"{split}.txt").write_text("".join(lines))
    return ClassificationData(root=str(to), test_split="test", train_labels="train.txt", test_labels="test.txt")


def as_inaturalist(digits: Path, to: Path) -> ClassificationData:
    """One tree of images for both splits, and COCO's tables."""
    number = 0
    for split in SPLITS:
        tables: dict[str, list[dict[str, object]]] = {"images": [], "annotations": [], "categories": []}
        for path, label in scans(digits, split):
            number += 1
            name = f"train_val2018/Genus {label}/{split}{number:05d}.png"
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to / name)
            tables["images"].append({"id": 1000 + number, "file_name": name})
            tables["annotations"].append({"id": number, "image_id": 1000 + number, "category_id": label})
        (to / f"{split}2018.json").write_text(json.dumps(tables))
    return ClassificationData(
        root=str(to),
        train_split="train_val2018",
        test_split="train_val2018",
        train_labels="train2018.json",
        test_labels="test2018.json",
    )


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def as_shards(digits: Path, to: Path, per_shard: int = 7, label: str = "cls") -> ClassificationData:
    to.mkdir(parents=True, exist_ok=True)
    last = {}
    for split in SPLITS:
        found = scans(digits, split)
        for shard, first in enumerate(range(0, len(found), per_shard)):
            last[split] = shard
            with tarfile.open(to / f"{split}-{shard:06d}.tar", "w") as tar:
                for number, (path, number_of_class) in enumerate(found[first : first + per_shard], start=first):
                    content = {"cls": f"{number_of_class}\n", "json": json.dumps({"label": number_of_class})}[label]
                    add_member(tar, f"sample{number:05d}.png", path.read_bytes())
                    add_member(tar, f"sample{number:05d}.{label}", content.encode())
    return ClassificationData(
        root=str(to),
        train_split=f"train-{{000000..{last['train']:06d}}}.tar",
        test_split="test-*.tar",
        index_folder=str(to / "indices"),
    )


def as_huggingface(digits: Path, to: Path) -> ClassificationData:
    """`save_to_disk` of a DatasetDict with the features Image and ClassLabel."""
    datasets = library("datasets", "datasets")
    names = [str(number) for number in range(10)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    splits = {}
    for split in SPLITS:
        rows = [
            {"image": {"bytes": path.read_bytes(), "path": None}, "label": label}
            for path, label in scans(digits, split)
        ]
        splits[split] = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict(splits).save_to_disk(str(to))
    return ClassificationData(root=str(to), test_split="test")


def as_parquet(digits: Path, to: Path) -> ClassificationData:
    """The layout of the hub: `data/SPLIT-00000-of-00001.parquet`."""
    datasets = library("datasets", "datasets")
    (to / "data").mkdir(parents=True)
    data = as_huggingface(digits, to / "saved")
    for split in SPLITS:
        table = datasets.load_from_disk(str(to / "saved" / split))
        table.to_parquet(str(to / "data" / f"{split}-00000-of-00001.parquet"))
    return data.model_copy(
        update={"root": str(to), "train_split": "data/train-*.parquet", "test_split": "data/test-*.parquet"}
    )


def write_csv(path: Path, rows: list[tuple[str, str]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


FORMS: dict[str, Callable[[Path, Path], ClassificationData]] = {
    "folders": as_folders,
    "flat": as_flat_list,
    "inaturalist": as_inaturalist,
    "webdataset": as_shards,
    "huggingface": as_huggingface,
    "parquet": as_parquet,
}
